// Length of a text as the service counts it.

/** Return the number of characters; of code points, of which an emoji may have two units in a JavaScript string. */
export function characterCount(text: string): number {
    let count = text.length
    for (const _ of text.matchAll(/[\uD800-\uDBFF][\uDC00-\uDFFF]/g)) count -= 1
    return count
}
