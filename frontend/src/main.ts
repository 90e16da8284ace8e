import ui from '@nuxt/ui/vue-plugin'
import { createPinia } from 'pinia'
import { createApp } from 'vue'
import App from './App.vue'
import { detectLanguage, i18n, loadArea, setLanguage } from './locales'
import { router } from './router'
import './styles/main.css'

const language = detectLanguage()
await loadArea('common', language)
await setLanguage(language)

createApp(App).use(createPinia()).use(router).use(i18n).use(ui).mount('#app')
