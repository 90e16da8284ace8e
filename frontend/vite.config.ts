import ui from '@nuxt/ui/vite'
import vue from '@vitejs/plugin-vue'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'
import { colorStyles, leaveOutParts } from './vite/libraries.ts'
import { chunks } from './vite/chunks.ts'
import { messages } from './vite/messages.ts'

const gateway = process.env.GATEWAY_URL ?? 'http://localhost:8080'
const proxy = Object.fromEntries(['/api', '/health'].map((path) => [path, gateway]))

const COLORS = { primary: 'teal', neutral: 'stone' } as const

export default defineConfig({
    plugins: [
        vue(),
        messages,
        leaveOutParts,
        colorStyles(COLORS),
        ui({
            theme: { colors: ['primary', 'success', 'warning', 'error'] },
            ui: {
                colors: COLORS,
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
        rolldownOptions: {
            output: {
                codeSplitting: { groups: chunks },
                // Without the names of the pages that share a file.
                chunkFileNames: ({ name }) => `assets/${name.split('~')[0]}-[hash].js`,
            },
        },
    },
    server: { proxy },
    preview: { proxy },
})
