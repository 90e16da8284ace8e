// The reader of an answer against a service that is scripted: connections that are cut, events that come twice, a
// snapshot, a lost response, a text that differs.

import { beforeEach, describe, expect, it, vi } from 'vitest'
import { askQuestion, readAnswer } from '@/conversation/answerRequests'
import { followAnswer, type AnswerSource } from '@/conversation/followAnswer'
import {
    ANSWER,
    SESSION,
    TEXT,
    created,
    deltas,
    message,
    problem,
    script,
    silentStream,
    stream,
    terminal,
    type StreamEvent,
} from './scriptedService'

const source: AnswerSource = {
    ask: (...args) => askQuestion(SESSION, { message: 'Hello?' }, 'key', ...args),
    follow: (id, position, ...args) => readAnswer(SESSION, id, position, ...args),
}

function read(from: AnswerSource = source, signal = new AbortController().signal) {
    const texts: string[] = []
    const connections: boolean[] = []
    const onCreated = vi.fn()
    const outcome = followAnswer(
        from,
        { onCreated, onText: (text) => texts.push(text), onConnection: (each) => connections.push(each) },
        signal,
        async () => undefined,
    )
    return { outcome, texts, connections, onCreated }
}

function positionsOf(requests: Request[]): (string | null)[] {
    return requests.map((request) => request.headers.get('Last-Event-ID'))
}

beforeEach(() => vi.unstubAllGlobals())

describe('an answer that is asked for', () => {
    it('is read to its end and proved by its hash', async () => {
        const requests = script(stream([created, ...deltas(TEXT), await terminal(TEXT)]))
        const { outcome, texts, connections, onCreated } = read()
        expect(await outcome).toMatchObject({ message: { content: TEXT }, proof: 'hash' })
        expect(texts.at(-1)).toBe(TEXT)
        expect(texts.every((text) => TEXT.startsWith(text))).toBe(true)
        expect(onCreated).toHaveBeenCalledOnce()
        expect(connections).toEqual([true])
        expect(requests[0]?.headers.get('Idempotency-Key')).toBe('key')
    })

    it.each(['close', 'break'] as const)('survives connections that %s after any event', async (end) => {
        const events = [created, ...deltas(TEXT), await terminal(TEXT)]
        for (let cut = 1; cut < events.length; cut++) {
            const position = events[cut - 1]?.[1] ?? 0
            const requests = script(stream(events.slice(0, cut), end), stream(events.slice(cut)))
            const { outcome, texts, connections, onCreated } = read()
            expect(await outcome).toMatchObject({ message: { content: TEXT }, proof: 'hash' })
            expect(texts.every((text) => TEXT.startsWith(text))).toBe(true)
            expect(positionsOf(requests)).toEqual([null, String(position)])
            expect(requests[1]?.method).toBe('GET')
            expect(onCreated).toHaveBeenCalledOnce()
            expect(connections).toEqual([true, false, true])
        }
    })

    it('is not shown twice where events come twice', async () => {
        const events = deltas(TEXT)
        const repeated = [...events.slice(0, 4), ...events.slice(1, 6), ...events.slice(3)]
        script(stream([created, created, ...repeated, await terminal(TEXT)]))
        const { outcome, texts, onCreated } = read()
        expect(await outcome).toMatchObject({ message: { content: TEXT }, proof: 'hash' })
        expect(texts.every((text) => TEXT.startsWith(text))).toBe(true)
        expect(onCreated).toHaveBeenCalledOnce()
    })

    it('takes only the new part of a piece that overlaps what was read', async () => {
        const events = deltas(TEXT)
        const whole: StreamEvent = ['message.delta', [...TEXT].length, { text: TEXT }]
        script(stream([created, ...events.slice(0, 3), whole, await terminal(TEXT)]))
        expect(await read().outcome).toMatchObject({ message: { content: TEXT }, proof: 'hash' })
    })

    it('reads on at the last position where a piece is missing', async () => {
        const events = deltas(TEXT)
        const gap = [created, ...events.slice(0, 2), ...events.slice(3)]
        const requests = script(stream(gap), stream([...events.slice(2), await terminal(TEXT)]))
        const { outcome, texts } = read()
        expect(await outcome).toMatchObject({ message: { content: TEXT }, proof: 'hash' })
        expect(texts.every((text) => TEXT.startsWith(text))).toBe(true)
        expect(positionsOf(requests)).toEqual([null, '10'])
    })

    it('takes the whole text of a snapshot', async () => {
        const snapshot: StreamEvent = ['message.snapshot', 5, { message: message(TEXT) }]
        script(stream([created, ...deltas('Other text')], 'break'), stream([snapshot, await terminal(TEXT)]))
        const { outcome, texts } = read()
        expect(await outcome).toMatchObject({ message: { content: TEXT }, proof: 'hash' })
        expect(texts.at(-1)).toBe(TEXT)
    })
})

describe('a lost response', () => {
    it('repeats the request with the same key', async () => {
        const requests = script(
            new TypeError('failed'),
            problem(502, 'bad_gateway'),
            stream([created, ...deltas(TEXT), await terminal(TEXT)]),
        )
        expect(await read().outcome).toMatchObject({ message: { content: TEXT } })
        expect(requests.map(({ method }) => method)).toEqual(['POST', 'POST', 'POST'])
        expect(new Set(requests.map(({ headers }) => headers.get('Idempotency-Key')))).toEqual(new Set(['key']))
    })

    it('follows the answer of the first request from its first event', async () => {
        const requests = script(
            new TypeError('failed'),
            problem(409, 'idempotency_in_progress', { message_id: ANSWER }),
            stream([created, ...deltas(TEXT), await terminal(TEXT)]),
        )
        const { outcome, onCreated } = read()
        expect(await outcome).toMatchObject({ message: { content: TEXT }, proof: 'hash' })
        expect(requests.at(-1)?.url).toContain(`/messages/${ANSWER}/events`)
        expect(positionsOf(requests).at(-1)).toBeNull()
        expect(onCreated).toHaveBeenCalledOnce()
    })
})

describe('a text that differs from the stored one', () => {
    it('is replaced by that of the terminal event', async () => {
        script(stream([created, ...deltas(`X${TEXT.slice(1)}`), await terminal(TEXT)]))
        expect(await read().outcome).toMatchObject({ message: { content: TEXT }, proof: 'hash' })
    })

    it('is read once more if that of the terminal event differs too', async () => {
        const [name, id, data] = await terminal(TEXT)
        const wrong: StreamEvent = [name, id, { ...(data as object), message: message('Wrong') }]
        const requests = script(
            stream([created, ...deltas('Wrong'), wrong]),
            stream([...deltas(TEXT), await terminal(TEXT)]),
        )
        expect(await read().outcome).toMatchObject({ message: { content: TEXT }, proof: 'hash' })
        expect(positionsOf(requests)).toEqual([null, '0'])
    })

    it('is reported if it still differs', async () => {
        const [name, id, data] = await terminal(TEXT)
        const wrong: StreamEvent = [name, id, { ...(data as object), message: message('Wrong') }]
        script(stream([created, ...deltas('Wrong'), wrong]), stream([...deltas('Wrong'), wrong]))
        expect(await read().outcome).toMatchObject({ proof: 'mismatch' })
    })

    it('is compared with the stored message where no hash can be computed', async () => {
        const end = await terminal(TEXT)
        vi.stubGlobal('crypto', {})
        script(stream([created, ...deltas(TEXT), end]))
        expect(await read().outcome).toMatchObject({ message: { content: TEXT }, proof: 'length' })
    })
})

describe('an answer that exists', () => {
    it('is followed from its beginning', async () => {
        const requests = script(stream([...deltas(TEXT), await terminal(TEXT, 'message.cancelled')]))
        expect(await read({ follow: source.follow, messageId: ANSWER }).outcome).toMatchObject({ proof: 'hash' })
        expect(positionsOf(requests)).toEqual(['0'])
    })

    it('waits where too many streams are open', async () => {
        script(problem(429, 'too_many_streams'), stream([...deltas(TEXT), await terminal(TEXT)]))
        expect(await read({ follow: source.follow, messageId: ANSWER }).outcome).toMatchObject({ proof: 'hash' })
    })

    it('has the code of its failure in its metadata', async () => {
        script(stream([await terminal('', 'message.failed', { code: 'provider_error' })]))
        expect(await read({ follow: source.follow, messageId: ANSWER }).outcome).toMatchObject({
            message: { metadata: { error: 'provider_error' } },
        })
    })
})

describe('a refusal', () => {
    it.each([
        [429, 'quota_exceeded'],
        [409, 'turn_active'],
        [422, 'validation_error'],
        [404, 'not_found'],
    ])('%d %s is thrown', async (status, code) => {
        script(problem(status, code))
        await expect(read().outcome).rejects.toMatchObject({ status, code })
    })
})

it('ends without an outcome when the page is left', async () => {
    const controller = new AbortController()
    script(new TypeError('failed'))
    controller.abort()
    expect(await read(source, controller.signal).outcome).toBeNull()
})

it('drops the connection when the browser goes offline, and resumes', async () => {
    const events = deltas(TEXT)
    const requests = script(
        silentStream([created, ...events.slice(0, 2)]),
        stream([...events.slice(2), await terminal(TEXT)]),
    )
    const { outcome, texts, connections } = read()
    await vi.waitFor(() => expect(texts).toHaveLength(2))
    window.dispatchEvent(new Event('offline'))
    expect(await outcome).toMatchObject({ message: { content: TEXT }, proof: 'hash' })
    expect(connections).toEqual([true, false, true])
    expect(positionsOf(requests)).toEqual([null, '10'])
})
