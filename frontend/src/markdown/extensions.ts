// Parts of the Markdown renderer that are loaded when a text needs them: formulas, and highlighting of languages.

import { loadLanguage } from './highlighting'
import { markdown } from './parser'

export const MATH = 'math'
const FORMULA = /\$[^$\n]+\$|\$\$|\\\(|\\\[/

const loading = new Map<string, Promise<void>>()
let hasMath = false

/** Return whether a text may have formulas, and their renderer is not loaded. */
export function needsMath(text: string): boolean {
    return !hasMath && FORMULA.test(text)
}

/** Load an extension: `MATH` or a language. A failure is ignored: the text stays readable, and is tried again later. */
export function loadExtension(name: string): Promise<void> {
    let promise = loading.get(name)
    if (!promise) {
        promise = (name === MATH ? loadMath() : loadLanguage(name)).catch(() => {
            loading.delete(name)
        })
        loading.set(name, promise)
    }
    return promise
}

async function loadMath(): Promise<void> {
    const { addMath } = await import('./math')
    addMath(markdown)
    hasMath = true
}
