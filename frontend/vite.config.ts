import ui from '@nuxt/ui/vite'
import vue from '@vitejs/plugin-vue'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const gateway = process.env.GATEWAY_URL ?? 'http://localhost:8080'
const proxy = Object.fromEntries(['/api', '/health'].map((path) => [path, gateway]))

export default defineConfig({
    plugins: [
        vue(),
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
            icon: { clientBundle: { scan: true } },
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
    build: { target: 'es2023', chunkSizeWarningLimit: 700, reportCompressedSize: true },
    server: { proxy },
    preview: { proxy },
})
