// Languages that can be highlighted. Loaded with the first code whose language is named.

import type { LanguageFn } from 'highlight.js'

type LanguageModule = Promise<{ default: LanguageFn }>

const LANGUAGES: Record<string, () => LanguageModule> = {
    bash: () => import('highlight.js/lib/languages/bash'),
    c: () => import('highlight.js/lib/languages/c'),
    cpp: () => import('highlight.js/lib/languages/cpp'),
    csharp: () => import('highlight.js/lib/languages/csharp'),
    css: () => import('highlight.js/lib/languages/css'),
    dart: () => import('highlight.js/lib/languages/dart'),
    diff: () => import('highlight.js/lib/languages/diff'),
    dockerfile: () => import('highlight.js/lib/languages/dockerfile'),
    elixir: () => import('highlight.js/lib/languages/elixir'),
    go: () => import('highlight.js/lib/languages/go'),
    graphql: () => import('highlight.js/lib/languages/graphql'),
    haskell: () => import('highlight.js/lib/languages/haskell'),
    ini: () => import('highlight.js/lib/languages/ini'),
    java: () => import('highlight.js/lib/languages/java'),
    javascript: () => import('highlight.js/lib/languages/javascript'),
    json: () => import('highlight.js/lib/languages/json'),
    kotlin: () => import('highlight.js/lib/languages/kotlin'),
    latex: () => import('highlight.js/lib/languages/latex'),
    lua: () => import('highlight.js/lib/languages/lua'),
    makefile: () => import('highlight.js/lib/languages/makefile'),
    markdown: () => import('highlight.js/lib/languages/markdown'),
    nginx: () => import('highlight.js/lib/languages/nginx'),
    perl: () => import('highlight.js/lib/languages/perl'),
    php: () => import('highlight.js/lib/languages/php'),
    powershell: () => import('highlight.js/lib/languages/powershell'),
    python: () => import('highlight.js/lib/languages/python'),
    r: () => import('highlight.js/lib/languages/r'),
    ruby: () => import('highlight.js/lib/languages/ruby'),
    rust: () => import('highlight.js/lib/languages/rust'),
    scala: () => import('highlight.js/lib/languages/scala'),
    scss: () => import('highlight.js/lib/languages/scss'),
    sql: () => import('highlight.js/lib/languages/sql'),
    swift: () => import('highlight.js/lib/languages/swift'),
    typescript: () => import('highlight.js/lib/languages/typescript'),
    xml: () => import('highlight.js/lib/languages/xml'),
    yaml: () => import('highlight.js/lib/languages/yaml'),
}

/** Other names under which languages are written. */
const ALIASES: Record<string, string> = {
    'c#': 'csharp',
    'c++': 'cpp',
    cs: 'csharp',
    docker: 'dockerfile',
    golang: 'go',
    html: 'xml',
    js: 'javascript',
    jsx: 'javascript',
    kt: 'kotlin',
    make: 'makefile',
    md: 'markdown',
    patch: 'diff',
    ps1: 'powershell',
    py: 'python',
    python3: 'python',
    rb: 'ruby',
    rs: 'rust',
    sh: 'bash',
    shell: 'bash',
    svg: 'xml',
    tex: 'latex',
    toml: 'ini',
    ts: 'typescript',
    tsx: 'typescript',
    vue: 'xml',
    yml: 'yaml',
    zsh: 'bash',
}

/** Return the name of a language under one of its names; undefined if it is unknown. */
export function resolveLanguage(name: string): string | undefined {
    const language = Object.hasOwn(ALIASES, name) ? ALIASES[name] : name
    return language !== undefined && Object.hasOwn(LANGUAGES, language) ? language : undefined
}

/** Load the definition of a language under its own name. */
export async function loadDefinition(language: string): Promise<LanguageFn | undefined> {
    return (await LANGUAGES[language]?.())?.default
}
