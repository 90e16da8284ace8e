// Length of a text as the service counts it.

/** Return the number of characters; of code points, of which an emoji may have two units in a JavaScript string. */
export function characterCount(text: string): number {
    return text.length - (text.match(/[\uD800-\uDBFF][\uDC00-\uDFFF]/g)?.length ?? 0)
}
