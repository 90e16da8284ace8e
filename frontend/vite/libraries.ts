// Parts of libraries that pages do not need, or not at their start. They are left out, so that pages load faster.

import { fileURLToPath } from 'node:url'
import colors from 'tailwindcss/colors'
import type { Plugin } from 'vite'

const NOTHING = '\0nothing'
const COLORS = 'virtual:colors.css'
const SHADES = [50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 950] as const

interface Replacement {
    source: RegExp
    importer?: RegExp
    by: string
}

const REPLACEMENTS: Replacement[] = [
    // The sidebar of Nuxt UI can also be a drawer or a modal on small screens. Here it is a slideover.
    { source: /^\.\/(Drawer|Modal)\.vue$/, importer: /\/DashboardSidebar\.vue$/, by: NOTHING },
    // The toaster is loaded by src/App.vue.
    { source: /^\.\/Toaster\.vue$/, importer: /\/@nuxt\/ui\/.+\/App\.vue$/, by: NOTHING },
    // These would write the style sheet of the colours when a page starts. It is part of the build instead: `colorStyles`.
    { source: /\/@nuxt\/ui\/.+\/plugins\/(colors|head)(\.js)?$/, by: NOTHING },
    // Icons are part of the build.
    { source: /^@iconify\/vue$/, by: file('./offlineIcons.ts') },
    // markdown-it brings a table of all character references. Browsers have one.
    { source: /^entities$/, importer: /\/markdown-it\//, by: file('../src/markdown/entities.ts') },
    // Event streams are read by src/api/eventStream.ts.
    { source: /\/serverSentEvents\.gen$/, importer: /\/generated\//, by: NOTHING },
    // The clients that are generated for each service differ in their operations only.
    {
        source: /^\.\/client$/,
        importer: /\/generated\/(chat|admin)\//,
        by: file('../src/api/generated/auth/client/index.ts'),
    },
]

function file(relative: string): string {
    return fileURLToPath(new URL(relative, import.meta.url))
}

/** Replace modules of libraries. */
export const leaveOutParts: Plugin = {
    name: 'leave-out-parts',
    enforce: 'pre',
    resolveId(id, importer = '') {
        return REPLACEMENTS.find(({ source, importer: by }) => source.test(id) && (by?.test(importer) ?? true))?.by
    },
    // An empty component and plugin, with the names that are imported from what it replaces.
    load: (id) =>
        id === NOTHING ? 'export default { install() {} }\nexport const createSseClient = undefined' : undefined,
}

type ColorName = keyof typeof colors

/** The colours of Nuxt UI, by their use. */
const DEFAULTS = { secondary: 'blue', success: 'green', info: 'blue', warning: 'yellow', error: 'red' } as const

/** Provide the variables of the colours as Nuxt UI defines them. */
export function colorStyles(configured: { primary: ColorName; neutral: ColorName }): Plugin {
    const names = { ...DEFAULTS, ...configured }
    const palettes = Object.entries(names).map(([use, name]) =>
        SHADES.map(
            (shade) => `--ui-color-${use}-${shade}: ${(colors[name as ColorName] as Record<number, string>)[shade]};`,
        ),
    )
    const level = (shade: number) =>
        Object.keys(names)
            .filter((use) => use !== 'neutral')
            .map((use) => `--ui-${use}: var(--ui-color-${use}-${shade});`)
    const styles = `@layer theme {
        :root, :host { ${palettes.flat().join('')} }
        :root, :host, .light { ${level(500).join('')} }
        .dark { ${level(400).join('')} }
    }`
    return {
        name: 'color-styles',
        resolveId: (id) => (id === COLORS ? `\0${COLORS}` : undefined),
        load: (id) => (id === `\0${COLORS}` ? styles : undefined),
    }
}
