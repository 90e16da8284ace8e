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
            ui: { colors: { primary: 'teal', neutral: 'stone' } },
            // Icons are part of the build. Without this, they would be loaded from a public server.
            icon: { clientBundle: { scan: true } },
            autoImport: { dts: 'src/types/auto-imports.d.ts' },
            components: { dts: 'src/types/components.d.ts', dirs: [] },
        }),
    ],
    // One KaTeX: the plugin of markdown-it brings an older one.
    resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) }, dedupe: ['katex'] },
    build: { target: 'es2023', chunkSizeWarningLimit: 700, reportCompressedSize: true },
    server: { proxy },
  preview: { proxy },
})
