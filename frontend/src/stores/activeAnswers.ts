// Answers in progress in the sessions of the account. The service is polled only while there are some.

import { defineStore } from 'pinia'
import { ref } from 'vue'
import { listActiveAnswers } from '@/api/generated/chat'
import { onSessionEnd } from '@/api/tokens'

/** Time between two requests while answers are in progress, in milliseconds. */
const POLL_INTERVAL = 4000

export const useActiveAnswers = defineStore('active-answers', () => {
    /** Ids of the sessions. */
    const sessions = ref<ReadonlySet<string>>(new Set())
    const endListeners = new Set<() => void>()
    let timer: ReturnType<typeof setTimeout> | undefined
    let request: Promise<void> | null = null

    /** Ask the service now, and again while answers are in progress and the page is visible. */
    function check(): Promise<void> {
        clearTimeout(timer)
        request ??= read().finally(() => {
            request = null
            if (sessions.value.size > 0 && !document.hidden) timer = setTimeout(check, POLL_INTERVAL)
        })
        return request
    }

    async function read(): Promise<void> {
        try {
            const { answers } = await listActiveAnswers()
            const before = sessions.value
            sessions.value = new Set(answers.map((answer) => answer.session_id))
            if ([...before].some((id) => !sessions.value.has(id))) for (const listener of endListeners) listener()
        } catch {
            // The marks stay as they were until the next request.
        }
    }

    /** Call a function when an answer has ended; returns a function that stops this. */
    function onEnd(listener: () => void): () => void {
        endListeners.add(listener)
        return () => endListeners.delete(listener)
    }

    onSessionEnd(() => {
        clearTimeout(timer)
        sessions.value = new Set()
    })

    return { sessions, check, onEnd }
})
