// Name of a device, from the `User-Agent` header of its login.

export interface Device {
    /** Names are not translated; null if unknown. */
    browser: string | null
    system: string | null
    isMobile: boolean
}

/** The first that matches counts: many browsers name others, too. */
const BROWSERS: [RegExp, string][] = [
    [/\bEdgA?(?:iOS)?\//, 'Edge'],
    [/\bOPR\//, 'Opera'],
    [/\bSamsungBrowser\//, 'Samsung Internet'],
    [/\b(?:Firefox|FxiOS)\//, 'Firefox'],
    [/\b(?:Chrome|CriOS|HeadlessChrome)\//, 'Chrome'],
    [/\bVersion\/.*\bSafari\//, 'Safari'],
]
const SYSTEMS: [RegExp, string][] = [
    [/\biPhone\b/, 'iPhone'],
    [/\biPad\b/, 'iPad'],
    [/\bAndroid\b/, 'Android'],
    [/\bWindows\b/, 'Windows'],
    [/\bMac OS X\b/, 'macOS'],
    [/\bCrOS\b/, 'ChromeOS'],
    [/\bLinux\b/, 'Linux'],
]

function firstMatch(patterns: [RegExp, string][], text: string): string | null {
    return patterns.find(([pattern]) => pattern.test(text))?.[1] ?? null
}

/** Return what a header says. Programs are named by their first product: `curl` for `curl/8.5.0`. */
export function deviceOf(userAgent: string | null): Device {
    const text = userAgent ?? ''
    const system = firstMatch(SYSTEMS, text)
    const program = text.startsWith('Mozilla/') ? null : (/^[^\s/()]{1,40}/.exec(text)?.[0] ?? null)
    return {
        browser: program ?? firstMatch(BROWSERS, text),
        system,
        isMobile: system === 'iPhone' || system === 'iPad' || system === 'Android',
    }
}
