import { expect, it } from 'vitest'
import { AnswerText } from '@/conversation/answerText'
import { afterCodePoints, codePointLength } from '@/conversation/codePoints'

const TEXTS = ['', 'abc', 'é', '👋🏽', 'a👋b', '\u{10ffff}', '日本語', '🇩🇪🇫🇷', 'e\u0301', '\uD800a']

it.each(TEXTS)('counts the code points of %j', (text) => {
    expect(codePointLength(text)).toBe([...text].length)
})

it.each(TEXTS)('splits %j between code points', (text) => {
    const points = [...text]
    for (let count = 0; count <= points.length + 1; count++)
        expect(afterCodePoints(text, count)).toBe(points.slice(count).join(''))
})

it('appends pieces without an id', () => {
    const answer = new AnswerText()
    expect(answer.append('👋', undefined)).toBe(true)
    expect(answer.append('!', undefined)).toBe(true)
    expect(answer).toMatchObject({ text: '👋!', position: 2 })
})
