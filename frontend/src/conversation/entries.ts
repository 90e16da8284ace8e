// Messages of a conversation as the page shows them: the loaded part of the active branch, oldest first.

import { shallowReactive } from 'vue'
import type { BranchMessage, MessageResponse, Siblings } from '@/api/generated/chat'
import { randomId } from '@/api/randomId'
import type { ProofResult } from './proof'

/** A message with a key that stays the same when the service gives it its id. Reactive by its properties. */
export interface Entry {
    readonly key: string
    message: BranchMessage
    /** How the answer was checked, if it was read as a stream. */
    proof: ProofResult | null
}

const ACTIVE: MessageResponse['status'][] = ['pending', 'streaming']

export function isActive(message: MessageResponse): boolean {
    return message.role === 'assistant' && ACTIVE.includes(message.status)
}

export function entryOf(message: BranchMessage): Entry {
    return shallowReactive({ key: message.id, message, proof: null })
}

/** Return a message that the service does not have yet. */
export function localMessage(
    role: MessageResponse['role'],
    content: string,
    parentId: string | null,
    siblings?: Siblings,
): BranchMessage {
    const id = `local-${randomId()}`
    const others = siblings?.ids ?? []
    return {
        id,
        role,
        content,
        status: role === 'user' ? 'complete' : 'pending',
        timestamp: new Date().toISOString(),
        metadata: {},
        tokens_used: 0,
        processing_time_ms: 0,
        parent_id: parentId,
        feedback: null,
        siblings: { index: others.length, count: others.length + 1, ids: [...others, id] },
    }
}

/** Put a message of the service in the place of a local one, or of an earlier state of itself. */
export function replaceMessage(entry: Entry, message: MessageResponse): void {
    const { id, siblings } = entry.message
    const ids = siblings.ids.map((each) => (each === id ? message.id : each))
    entry.message = { ...message, siblings: { ...siblings, ids } }
}

function isSame(entry: Entry, message: BranchMessage): boolean {
    return JSON.stringify(entry.message) === JSON.stringify(message)
}

/**
 * Return the entries of a page, those that are known already updated in place. `read` is the answer that is being read:
 * its text is ahead of the page's.
 */
export function updateEntries(
    known: readonly Entry[],
    page: readonly BranchMessage[],
    read: Entry | null = null,
): Entry[] {
    const byId = new Map([...known, ...(read ? [read] : [])].map((entry) => [entry.message.id, entry]))
    return page.map((message) => {
        const entry = byId.get(message.id)
        if (!entry) return entryOf(message)
        if (entry === read) entry.message = { ...entry.message, siblings: message.siblings }
        else if (!isSame(entry, message)) entry.message = message
        return entry
    })
}

/**
 * Return the entries after the newest page was read again, and whether older ones are known to exist (null: as before).
 * Older entries stay if the page follows them: what precedes a message never changes.
 */
export function mergeNewestPage(
    shown: readonly Entry[],
    page: { messages: BranchMessage[]; has_older: boolean },
    read: Entry | null = null,
): { entries: Entry[]; hasOlder: boolean | null } {
    const first = page.messages[0]
    const index = first ? shown.findIndex((entry) => entry.message.id === first.id) : -1
    const updated = updateEntries(shown, page.messages, read)
    if (index <= 0) return { entries: updated, hasOlder: page.has_older }
    return { entries: [...shown.slice(0, index), ...updated], hasOlder: null }
}

/** Return the id of the version of a message that many steps later or earlier; null if there is none. */
export function neighbourOf({ index, ids }: Siblings, step: number): string | null {
    return ids[index + step] ?? null
}

/** Return the last answer that has ended with a text. */
export function lastAnswer(entries: readonly Entry[]): Entry | null {
    return entries.findLast(({ message }) => message.role === 'assistant' && !isActive(message)) ?? null
}
