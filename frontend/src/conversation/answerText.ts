// Text of an answer as it is read from its event stream, with the position up to which it was read.

import { afterCodePoints, codePointLength } from './codePoints'

/**
 * The text of one answer. The id of an event is the number of code points that a reader has after it, so events that
 * come twice are recognized, and missing ones too.
 */
export class AnswerText {
    text = ''
    position = 0

    /** Append a piece of text that ends at a position. Returns false if text before it is missing. */
    append(piece: string, id: string | undefined): boolean {
        const length = codePointLength(piece)
        const end = id === undefined ? this.position + length : Number(id)
        const start = end - length
        if (start > this.position) return false
        if (end > this.position) {
            this.text += afterCodePoints(piece, this.position - start)
            this.position = end
        }
        return true
    }

    replace(text: string): void {
        this.text = text
        this.position = codePointLength(text)
    }
}
