// Compilation of the translations while the application is built, so that pages need no compiler of messages.

import { baseCompile } from '@intlify/message-compiler'
import type { Plugin } from 'vite'

type Tree = { [key: string]: string | Tree }

/** Return texts whose messages with placeholders or plural forms are compiled. Others stay strings. */
export function compileMessages(tree: Tree): object {
    return Object.fromEntries(
        Object.entries(tree).map(([key, value]) => [
            key,
            typeof value === 'string' ? compileMessage(value) : compileMessages(value),
        ]),
    )
}

function compileMessage(text: string): unknown {
    if (!/[{}@|]/.test(text)) return text
    const options = { jit: true, minify: true, mangle: true, location: false }
    return baseCompile(text, {
        ...options,
        onError: (error) => {
            throw error
        },
    }).ast
}

export const messages: Plugin = {
    name: 'messages',
    enforce: 'pre',
    config: () => ({ define: { __INTLIFY_DROP_MESSAGE_COMPILER__: true } }),
    transform(source, id) {
        if (!/\/src\/locales\/.+\.json$/.test(id)) return
        return { code: JSON.stringify(compileMessages(JSON.parse(source))), map: null }
    },
}
