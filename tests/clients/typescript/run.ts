// Registers, logs in, asks and reads with the client that hey-api generates. Only the environment is not typed by it.
import { createClient } from './api/client'
import { chatGetSession, createSession, login, register, sendMessage } from './api'

declare const process: { argv: string[]; stdout: { write(text: string): void } }

async function main(): Promise<void> {
    const [authUrl, chatUrl, password] = process.argv.slice(2) as [string, string, string]
    const auth = createClient({ baseUrl: authUrl })
    await register({
        client: auth,
        throwOnError: true,
        body: { email: 'mia@example.com', username: 'mia', password },
    })
    const tokens = await login({ client: auth, throwOnError: true, body: { username: 'mia', password } })
    const token: string = tokens.data.access_token
    const chat = createClient({ baseUrl: chatUrl, auth: () => token })
    const session = await createSession({ client: chat, throwOnError: true, body: { title: 'Generated' } })
    const path = { session_id: session.data.session_id }
    const turn = await sendMessage({ client: chat, throwOnError: true, path, body: { message: 'Hi' } })
    const read = await chatGetSession({ client: chat, throwOnError: true, path })
    const refused = await sendMessage({ client: createClient({ baseUrl: chatUrl }), path, body: { message: 'Hi' } })
    const messages: number = read.data.messages?.length ?? 0
    // An error has the codes of its operation.
    const code = refused.error !== undefined && 'code' in refused.error ? refused.error.code : undefined
    process.stdout.write(`${turn.data.ai_response.content} ${messages} ${code}\n`)
}

void main()
