// Syntax highlighting of code. Each language is loaded when code in it is shown for the first time.

import type { HLJSApi } from 'highlight.js'
import { MAX_HIGHLIGHTED } from './limits'
import type { RenderEnv } from './render'

let highlighter: HLJSApi | null = null
let languages: typeof import('./languages') | null = null
const loaded = new Set<string>()

/** Return code as HTML; null if its language is unknown or not loaded. If it may be loaded, it is in `env.missing`. */
export function highlight(code: string, name: string, env: RenderEnv): string | null {
    const language = languages ? languages.resolveLanguage(name) : name
    if (!language || code.length > MAX_HIGHLIGHTED) return null
    if (highlighter === null || !loaded.has(language)) {
        env.missing.add(language)
        return null
    }
    return highlighter.highlight(code, { language, ignoreIllegals: true }).value
}

/** Load the highlighter of a language, if it is known. */
export async function loadLanguage(name: string): Promise<void> {
    languages = await import('./languages')
    const language = languages.resolveLanguage(name)
    if (!language) return
    const [{ default: core }, definition] = await Promise.all([
        import('highlight.js/lib/core'),
        languages.loadDefinition(language),
    ])
    if (!definition) return
    highlighter = core
    core.registerLanguage(language, definition)
    loaded.add(language)
}
