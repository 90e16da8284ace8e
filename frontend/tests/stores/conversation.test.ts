// The open conversation against a scripted service: first question, refusals, stop, reload, versions.

import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { BranchMessage } from '@/api/generated/chat'
import { localMessage } from '@/conversation/entries'
import { outgoingQuestion } from '@/conversation/outbox'
import { useConversation } from '@/stores/conversation'

const SESSION = 'session-1'
const BASE = `/api/v1/chat/sessions`

type Handler = (request: Request, body: Record<string, unknown>) => Response | Promise<Response>

let handlers: [method: string, path: RegExp, handler: Handler][]
let requests: string[]

function on(method: string, path: string, handler: Handler): void {
    handlers.unshift([method, new RegExp(`^${path}$`), handler])
}

function message(id: string, role: 'user' | 'assistant', changes: Partial<BranchMessage> = {}): BranchMessage {
    const siblings = { index: 0, count: 1, ids: [id] }
    return { ...localMessage(role, `Text of ${id}`, null), id, status: 'complete', siblings, ...changes }
}

function problem(status: number, code: string, extra = {}): Response {
    return Response.json({ status, code, ...extra }, { status })
}

async function answerStream(text: string, { question = 'q2', answer = 'a2' } = {}): Promise<Response> {
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
    const ended = message(answer, 'assistant', { content: text, parent_id: question })
    const events = [
        ['message.created', 0, { session_id: SESSION, message_id: answer, user_message: message(question, 'user') }],
        ['session.title', 0, { session_id: SESSION, title: 'A title' }],
        ['message.delta', text.length, { text }],
        [
            'message.completed',
            text.length + 1,
            { message: ended, length: text.length, sha256: Buffer.from(digest).toString('hex') },
        ],
    ]
    const body = events.map(([name, id, data]) => `event: ${name}\ndata: ${JSON.stringify(data)}\nid: ${id}\n\n`)
    return new Response(body.join(''), { headers: { 'Content-Type': 'text/event-stream' } })
}

function page(...messages: BranchMessage[]): Response {
    return Response.json({ messages, has_older: false, has_newer: false })
}

const session = { session_id: SESSION, title: 'New chat', message_count: 0, tags: [], updated_at: '2026-01-01' }

function shown(): [string, string][] {
    return useConversation().entries.map((entry) => [entry.message.id, entry.message.content])
}

beforeEach(() => {
    setActivePinia(createPinia())
    sessionStorage.clear()
    handlers = []
    requests = []
    on('POST', BASE, () => Response.json(session, { status: 201 }))
    on('GET', `${BASE}/${SESSION}`, () => Response.json(session))
    on('GET', `${BASE}/${SESSION}/messages`, () => page(message('q1', 'user'), message('a1', 'assistant')))
    vi.stubGlobal('fetch', async (request: Request) => {
        const { pathname } = new URL(request.url)
        requests.push(`${request.method} ${pathname}`)
        const found = handlers.find(([method, path]) => method === request.method && path.test(pathname))
        if (!found) throw new Error(`unexpected request ${request.method} ${pathname}`)
        const text = await request.clone().text()
        return found[2](request, text ? JSON.parse(text) : {})
    })
})

afterEach(() => {
    useConversation().close()
    vi.unstubAllGlobals()
})

describe('the first question', () => {
    it('creates the session, and is shown at once', async () => {
        on('POST', `${BASE}/${SESSION}/messages/stream`, () => answerStream('Hello!'))
        const conversation = useConversation()
        await conversation.open(null)
        const asked = conversation.ask({ message: 'Hi', context: { tone: 'casual' } })
        expect(shown()[0]?.[1]).toBe('Hi')
        await asked
        expect(conversation.sessionId).toBe(SESSION)
        expect(conversation.session?.title).toBe('A title')
        expect(shown()).toEqual([
            ['q2', 'Text of q2'],
            ['a2', 'Hello!'],
        ])
        expect(conversation.entries[1]?.proof).toBe('hash')
        expect(requests).toEqual([`POST ${BASE}`, `POST ${BASE}/${SESSION}/messages/stream`])
    })

    it('keeps what is shown when the page gets the address of the session', async () => {
        on('POST', `${BASE}/${SESSION}/messages/stream`, () => answerStream('Hello!'))
        const conversation = useConversation()
        await conversation.ask({ message: 'Hi' })
        const { entries } = conversation
        await conversation.open(SESSION)
        expect(conversation.entries).toBe(entries)
    })
})

describe('a refused question', () => {
    it('goes back to the composer', async () => {
        on('POST', `${BASE}/${SESSION}/messages/stream`, () => problem(429, 'quota_exceeded'))
        const conversation = useConversation()
        await conversation.open(SESSION)
        await conversation.ask({ message: 'Precious' })
        expect(conversation.returnedText).toBe('Precious')
        expect(conversation.turnError).toMatchObject({ code: 'quota_exceeded' })
        expect(conversation.isAnswering).toBe(false)
        expect(shown().map(([id]) => id)).toEqual(['q1', 'a1'])
        expect(outgoingQuestion(SESSION)).toBeNull()
    })

    it('shows the answer in progress instead', async () => {
        const conversation = useConversation()
        await conversation.open(SESSION)
        on('POST', `${BASE}/${SESSION}/messages/stream`, () => problem(409, 'turn_active', { message_id: 'a2' }))
        on('GET', `${BASE}/${SESSION}/messages`, () =>
            page(
                message('q1', 'user'),
                message('a1', 'assistant'),
                message('q2', 'user'),
                message('a2', 'assistant', { status: 'streaming', content: '' }),
            ),
        )
        on('GET', `${BASE}/${SESSION}/messages/a2/events`, () => answerStream('From elsewhere'))
        await conversation.ask({ message: 'Precious' })
        await vi.waitFor(() => expect(conversation.isAnswering).toBe(false))
        expect(conversation.returnedText).toBe('Precious')
        expect(conversation.turnError).toMatchObject({ code: 'turn_active' })
        expect(shown().at(-1)).toEqual(['a2', 'From elsewhere'])
    })

    it('that was edited opens the editor again', async () => {
        on('POST', `${BASE}/${SESSION}/messages/stream`, () => problem(422, 'message_too_long'))
        const conversation = useConversation()
        await conversation.open(SESSION)
        const [question] = conversation.entries
        if (question) await conversation.submitEdit(question, 'Edited')
        expect(conversation.edit).toEqual({ messageId: 'q1', text: 'Edited' })
        expect(shown().map(([id]) => id)).toEqual(['q1', 'a1'])
    })
})

describe('a page that is loaded again', () => {
    it('follows the answer in progress', async () => {
        on('GET', `${BASE}/${SESSION}/messages`, () =>
            page(message('q2', 'user'), message('a2', 'assistant', { status: 'streaming', content: '' })),
        )
        on('GET', `${BASE}/${SESSION}/messages/a2/events`, () => answerStream('The answer'))
        const conversation = useConversation()
        await conversation.open(SESSION)
        await vi.waitFor(() => expect(conversation.isAnswering).toBe(false))
        expect(shown()).toEqual([
            ['q2', 'Text of q2'],
            ['a2', 'The answer'],
        ])
    })

    it('sends the question again that had not arrived, once and with the same key', async () => {
        const keys: (string | null)[] = []
        on('POST', `${BASE}/${SESSION}/messages/stream`, (request) => {
            keys.push(request.headers.get('Idempotency-Key'))
            return new Promise<Response>(() => undefined)
        })
        await useConversation().open(SESSION)
        void useConversation().ask({ message: 'Precious' })
        await vi.waitFor(() => expect(keys).toHaveLength(1))

        setActivePinia(createPinia())
        on('POST', `${BASE}/${SESSION}/messages/stream`, (request) => {
            keys.push(request.headers.get('Idempotency-Key'))
            return answerStream('The answer')
        })
        on('GET', `${BASE}/${SESSION}/messages`, () =>
            page(
                message('q1', 'user'),
                message('a1', 'assistant'),
                message('q2', 'user'),
                message('a2', 'assistant', { status: 'streaming', content: '' }),
            ),
        )
        const conversation = useConversation()
        await conversation.open(SESSION)
        await vi.waitFor(() => expect(shown().at(-1)).toEqual(['a2', 'The answer']))
        await vi.waitFor(() => expect(shown().map(([id]) => id)).toEqual(['q1', 'a1', 'q2', 'a2']))
        expect(new Set(keys).size).toBe(1)
        expect(outgoingQuestion(SESSION)).toBeNull()
    })
})

it('stops an answer by its id', async () => {
    on('POST', `${BASE}/${SESSION}/messages/stream`, async () => {
        const whole = await (await answerStream('Hello!')).text()
        const created = whole.slice(0, whole.indexOf('event: session.title'))
        const body = new ReadableStream({
            start: (controller) => controller.enqueue(new TextEncoder().encode(created)),
        })
        return new Response(body)
    })
    on('POST', `${BASE}/${SESSION}/messages/a2/cancel`, () => Response.json(message('a2', 'assistant')))
    const conversation = useConversation()
    await conversation.open(SESSION)
    void conversation.ask({ message: 'Hi' })
    await vi.waitFor(() => expect(shown().at(-1)?.[0]).toBe('a2'))
    await conversation.stop()
    expect(requests.at(-1)).toBe(`POST ${BASE}/${SESSION}/messages/a2/cancel`)
})

it('makes an edited question and another answer versions', async () => {
    const bodies: Record<string, unknown>[] = []
    const siblings = { index: 0, count: 2, ids: ['q1', 'q0'] }
    on('GET', `${BASE}/${SESSION}/messages`, () =>
        page(message('q1', 'user', { siblings }), message('a1', 'assistant', { parent_id: 'q1' })),
    )
    on('POST', `${BASE}/${SESSION}/messages/a1/regenerate/stream`, (_, body) => {
        bodies.push(body)
        return answerStream('Again', { question: 'q1' })
    })
    on('POST', `${BASE}/${SESSION}/messages/stream`, (_, body) => {
        bodies.push(body)
        return answerStream('Edited', { question: 'q3', answer: 'a3' })
    })
    const conversation = useConversation()
    await conversation.open(SESSION)
    const answer = conversation.entries[1]
    if (answer) await conversation.regenerate(answer, { model: 'other' })
    expect(conversation.entries[1]?.message.siblings).toEqual({ index: 1, count: 2, ids: ['a1', 'a2'] })
    const question = conversation.entries[0]
    if (question) await conversation.submitEdit(question, 'Edited')
    expect(conversation.entries[0]?.message.siblings).toEqual({ index: 2, count: 3, ids: ['q1', 'q0', 'q3'] })
    expect(shown().map(([id]) => id)).toEqual(['q3', 'a3'])
    expect(bodies).toEqual([{ model: 'other' }, { message: 'Edited', parent_id: null }])
})
