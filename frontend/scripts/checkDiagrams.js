// Parses every Mermaid diagram of the documents, or of the files that are given, and reports those that are not valid.
import console from 'node:console'
import { globSync, readFileSync } from 'node:fs'
import process from 'node:process'
import { JSDOM } from 'jsdom'

// Mermaid sanitizes labels with the DOM of the page, also if it only parses.
const { window } = new JSDOM('')
Object.assign(globalThis, { window, document: window.document, Element: window.Element })
const { default: mermaid } = await import('mermaid')

const block = /^```mermaid\n(.*?)^```/gms
const given = process.argv.slice(2)
const files = given.length > 0 ? given : globSync(['../*.md', '../docs/**/*.md', '../.github/**/*.md'])
let count = 0
for (const path of files.sort()) {
    const text = readFileSync(path, 'utf8')
    for (const match of text.matchAll(block)) {
        count += 1
        try {
            await mermaid.parse(match[1])
        } catch (error) {
            const line = text.slice(0, match.index).split('\n').length
            console.error(`${path}:${line}: ${error.message}`)
            process.exitCode = 1
        }
    }
}
if (count === 0) throw new Error('no diagrams')
