// Incomplete ends of a growing text, which would be shown as something else for a moment.

/** A last line of marks only: it may become a list, a heading, a fence, or make the line above it a heading. */
const MARKS = /(?:^|\n)[ \t]*(?:[-=#*+>`~_|$:]+|\d{1,3}[.)]?)[ \t]*$/
/** A row of a table above which there is no other line of the table, and its incomplete delimiter row. */
const TABLE_START = /(?:^|\n\n)[ \t]*\|[^\n]*(?:\n[ \t]*[|:\- \t]*)?$/
const LONGEST = 2000

/** Return a growing text without an end that is too short to tell what it is. */
export function withoutIncompleteEnd(text: string): string {
    const start = Math.max(0, text.length - LONGEST)
    const end = text.slice(start)
    const cut = Math.min(...[MARKS, TABLE_START].map((pattern) => matchStart(pattern, end)))
    return text.slice(0, start + cut)
}

function matchStart(pattern: RegExp, text: string): number {
    return pattern.exec(text)?.index ?? text.length
}
