// Checks that the API client in src/api/generated is what `npm run generate` makes of the OpenAPI documents.
import { spawnSync } from 'node:child_process'
import console from 'node:console'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'

const directory = 'src/api/generated'

function readFiles() {
    const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    return new Map(
        files.map((file) => {
            const path = join(file.parentPath, file.name)
            return [path, readFileSync(path, 'utf8')]
        }),
    )
}

const copy = mkdtempSync(join(tmpdir(), 'generated-'))
cpSync(directory, copy, { recursive: true })
const committed = readFiles()
try {
    const npm = [process.env.npm_execpath, 'run', '--silent', 'generate']
    const { status } = spawnSync(process.execPath, npm, { stdio: 'inherit' })
    const generated = readFiles()
    const paths = [...new Set([...committed.keys(), ...generated.keys()])]
    const outdated = paths.filter((path) => committed.get(path) !== generated.get(path))
    for (const path of outdated) console.error(`frontend/${path} is not up to date: run make docs`)
    process.exitCode = status || Number(outdated.length > 0)
} finally {
    // The check changes nothing, also if it fails.
    rmSync(directory, { recursive: true })
    cpSync(copy, directory, { recursive: true })
    rmSync(copy, { recursive: true })
}
