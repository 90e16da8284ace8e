// Asks a question and follows the answer, over cut connections and reloads of the page. No library is needed.

/** Log in, and return an access token. It is valid for some minutes: see "Refresh" in the tutorial. */
export async function logIn(base, username, password) {
    const body = new URLSearchParams({ username, password })
    const response = await fetch(`${base}/api/v1/auth/login`, { method: 'POST', body })
    return (await result(response)).access_token
}

/** Create a session, and return its id. */
export async function openSession(base, token) {
    return (await result(await post(`${base}/api/v1/chat/sessions`, token, {}))).session_id
}

/**
 * Ask a question, and return the final message. `show` gets the text so far; `save` gets the state from which
 * `resume` continues after a reload, and null at the end.
 */
export async function ask({ base, token, session, question, show, save = () => {} }) {
    const url = `${base}/api/v1/chat/sessions/${session}/messages/stream`
    // With the same key, a repeated request is the same turn: nothing is answered or charged twice.
    const key = crypto.randomUUID()
    const state = { session, message: null, position: 0, text: '' }
    const begin = () => post(url, token, { message: question }, { 'Idempotency-Key': key, ...since(state) })
    return follow({ base, token, state, show, save, begin })
}

/** Continue to follow an answer from a saved state, and return the final message. */
export async function resume({ base, token, state, show, save = () => {} }) {
    show(state.text)
    return follow({ base, token, state, show, save })
}

async function follow({ base, token, state, show, save, begin }) {
    for (let pause = 500; ; pause = Math.min(pause * 2, 8000)) {
        try {
            const response = await (state.message === null ? begin() : events(base, token, state))
            const problem = response.ok ? null : await response.json()
            if (problem?.code === 'idempotency_in_progress') {
                state.message = problem.message_id // the question has arrived: its answer is followed from here on
            } else if (problem && response.status < 500 && response.status !== 429) {
                throw new RefusedError(problem)
            }
            if (response.ok) {
                for await (const event of parse(response.body)) {
                    const message = apply(event, state)
                    show(state.text)
                    save(message ? null : state)
                    if (message) return message // a stream without a terminal event was cut
                    pause = 500
                }
            }
        } catch (error) {
            if (error instanceof RefusedError) throw error
            // Otherwise the network failed.
        }
        await new Promise((wake) => setTimeout(wake, pause))
    }
}

/** Apply an event to the state. Returns the final message, or null. Unknown events are ignored. */
function apply({ name, id, data }, state) {
    if (name === 'message.created') state.message = data.message_id
    if (name === 'message.delta') state.text += data.text
    if (name === 'message.snapshot') state.text = data.message.content
    state.position = id
    const isEnd = ['message.completed', 'message.failed', 'message.cancelled'].includes(name)
    if (isEnd) state.text = data.message.content
    return isEnd ? data.message : null
}

function events(base, token, state) {
    const url = `${base}/api/v1/chat/sessions/${state.session}/messages/${state.message}/events`
    return fetch(url, { headers: { Authorization: `Bearer ${token}`, ...since(state) } })
}

const since = (state) => (state.position ? { 'Last-Event-ID': String(state.position) } : {})

function post(url, token, body, headers = {}) {
    return fetch(url, {
        method: 'POST',
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', ...headers },
        body: JSON.stringify(body),
    })
}

/** Yield the events of a stream. Only complete events count: what follows the last empty line was cut. */
async function* parse(body) {
    const decoder = new TextDecoder()
    let rest = ''
    for await (const bytes of body) {
        rest += decoder.decode(bytes, { stream: true })
        const blocks = rest.split('\n\n')
        rest = blocks.pop()
        for (const block of blocks) {
            const fields = Object.fromEntries(block.split('\n').map((line) => line.split(/: ?(.*)/s)))
            if (fields.event) yield { name: fields.event, id: Number(fields.id), data: JSON.parse(fields.data) }
        }
    }
}

/** The service refused a request. `problem.code` says why; to repeat it does not help. */
export class RefusedError extends Error {
    constructor(problem) {
        super(problem.detail)
        this.problem = problem
    }
}

async function result(response) {
    const document = await response.json()
    if (!response.ok) throw new RefusedError(document)
    return document
}
