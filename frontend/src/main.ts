import ui from '@nuxt/ui/vue-plugin'
import { createPinia } from 'pinia'
import { createApp } from 'vue'
import App from './App.vue'
import { detectLanguage, i18n, setLanguage } from './locales'
import { router } from './router'
import { reloadForNewVersion } from './router/newVersion'
import 'virtual:colors.css'
import './styles/main.css'

reloadForNewVersion(router)
// The router loads the first page while the texts are loaded.
const app = createApp(App).use(createPinia()).use(i18n).use(ui).use(router)
// Without them, the page is in English.
await setLanguage(detectLanguage()).catch(() => undefined)
app.mount('#app')
