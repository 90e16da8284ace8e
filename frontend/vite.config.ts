import ui from '@nuxt/ui/vite'
import vue from '@vitejs/plugin-vue'
import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vite'

const gateway = process.env.GATEWAY_URL ?? 'http://localhost:8080'
const proxy = Object.fromEntries(['/api', '/health'].map((path) => [path, gateway]))

/** The sidebar of Nuxt UI can also be a drawer or a modal on small screens. Here it is a slideover: leave out the others. */
const withoutOtherSidebars: Plugin = {
    name: 'without-other-sidebars',
    enforce: 'pre',
    resolveId(source, importer) {
        if (/^\.\/(Drawer|Modal)\.vue$/.test(source) && importer?.endsWith('/DashboardSidebar.vue'))
            return '\0no-sidebar'
    },
    load: (id) => (id === '\0no-sidebar' ? 'export default {}' : undefined),
}

export default defineConfig({
    plugins: [
        vue(),
        withoutOtherSidebars,
        ui({
            ui: {
                colors: { primary: 'teal', neutral: 'stone' },
                // The default makes hovered buttons lighter, which leaves too little contrast on white.
                button: {
                    compoundVariants: [
                        { color: 'primary', variant: 'solid', class: 'hover:bg-primary-800 dark:hover:bg-primary/75' },
                        {
                            color: 'primary',
                            variant: 'link',
                            class: 'hover:text-primary-800 dark:hover:text-primary/75',
                        },
                        { color: 'error', variant: 'solid', class: 'hover:bg-error-800 dark:hover:bg-error/75' },
                    ],
                },
            },
            // Icons are part of the build. Without this, they would be loaded from a public server.
            icon: { clientBundle: { scan: { globInclude: ['src/**/*.{vue,ts}'] } } },
            // Styles of the components in use only.
            experimental: { componentDetection: true },
            autoImport: { dts: 'src/types/auto-imports.d.ts' },
            components: { dts: 'src/types/components.d.ts', dirs: [] },
        }),
    ],
    resolve: {
        alias: {
            '@': fileURLToPath(new URL('./src', import.meta.url)),
            // One KaTeX: the plugin of markdown-it brings an older one.
            katex: fileURLToPath(new URL('./node_modules/katex/dist/katex.mjs', import.meta.url)),
        },
    },
    // Parts of vue-i18n that are not used.
    define: { __VUE_I18N_LEGACY_API__: false, __INTLIFY_PROD_DEVTOOLS__: false },
    build: {
        target: 'es2023',
        chunkSizeWarningLimit: 700,
        // One file of what every page needs, instead of dozens of small ones.
        rolldownOptions: { output: { codeSplitting: { groups: [{ name: 'base', tags: ['$initial'] }] } } },
    },
    server: { proxy },
    preview: { proxy },
})
