// Unicode code points of a text, which the services count as characters. JavaScript counts some of them twice.

/** Return the number of code points. An unpaired surrogate is one. */
export function codePointLength(text: string): number {
    let length = text.length
    for (let index = 0; index < text.length - 1; index++)
        if ((text.charCodeAt(index) & 0xfc00) === 0xd800 && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00) length--
    return length
}

/** Return the part of a text after a number of code points. */
export function afterCodePoints(text: string, count: number): string {
    let index = 0
    for (let passed = 0; passed < count && index < text.length; passed++)
        index += (text.codePointAt(index) ?? 0) > 0xffff ? 2 : 1
    return text.slice(index)
}
