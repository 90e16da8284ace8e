// Character references of HTML, such as `&amp;` and `&#x41;`, in place of the package `entities` for markdown-it.

const element = document.createElement('textarea')

/** Return the characters of one complete reference, or the text itself if it is none. */
export function decodeHTMLStrict(reference: string): string {
    element.innerHTML = reference
    const decoded = element.value
    // Some names are also known without a semicolon: browsers read "&notx;" as "¬x;".
    return decoded.endsWith(';') && reference !== '&semi;' ? reference : decoded
}
