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
                // The default of 75 % has too little contrast.
                button: {
                    compoundVariants: [
                        { color: 'primary', variant: 'solid', class: 'hover:bg-primary/90 active:bg-primary/90' },
                        { color: 'error', variant: 'solid', class: 'hover:bg-error/90 active:bg-error/90' },
                        { color: 'primary', variant: 'link', class: 'hover:text-primary/90 active:text-primary/90' },
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
