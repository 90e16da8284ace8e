// Drafts of questions, kept in this browser for each account and session until they are sent.

import { defineStore } from 'pinia'
import { useAccount } from './account'
import { DRAFTS_PREFIX } from './browserData'

/** Drafts of an account that are kept; the oldest are dropped. */
export const MAX_DRAFTS = 30
/** Characters of all drafts together, far below what browsers store for an origin. */
export const MAX_TOTAL = 500_000
const NEW_CHAT = 'new'

interface Draft {
    session: string
    text: string
}

/** Return a list with a changed draft as the newest, without the oldest that are too many. An empty text removes it. */
export function withDraft(drafts: Draft[], session: string, text: string): Draft[] {
    const others = drafts.filter((draft) => draft.session !== session)
    const changed = text.trim() === '' ? others : [{ session, text }, ...others]
    let total = 0
    return changed.slice(0, MAX_DRAFTS).filter((draft) => (total += draft.text.length) <= MAX_TOTAL)
}

/** Return the drafts in a stored value; none if it is invalid. */
export function parseDrafts(stored: string | null): Draft[] {
    try {
        const value: unknown = JSON.parse(stored ?? '[]')
        return Array.isArray(value) ? value.filter(isDraft) : []
    } catch {
        return []
    }
}

function isDraft(value: unknown): value is Draft {
    const draft = value as Partial<Draft> | null
    return typeof draft?.session === 'string' && typeof draft.text === 'string'
}

export const useDrafts = defineStore('drafts', () => {
    const account = useAccount()

    function key(): string | null {
        return account.user === null ? null : DRAFTS_PREFIX + account.user.id
    }

    /** Return the draft of a session; of a new chat without an id. */
    function load(session: string = NEW_CHAT): string {
        const name = key()
        if (name === null) return ''
        return parseDrafts(localStorage.getItem(name)).find((draft) => draft.session === session)?.text ?? ''
    }

    function save(session: string = NEW_CHAT, text: string): void {
        const name = key()
        if (name === null) return
        const drafts = withDraft(parseDrafts(localStorage.getItem(name)), session, text)
        try {
            if (drafts.length > 0) localStorage.setItem(name, JSON.stringify(drafts))
            else localStorage.removeItem(name)
        } catch {
            // The storage is full or blocked: the draft lives as long as the page.
        }
    }

    return { load, save }
})
