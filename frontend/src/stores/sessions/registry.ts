// Sessions that are known in this tab, by id, with changes that are shown before the service has confirmed them.

import { shallowReactive } from 'vue'
import { removeInvisible } from '@/markdown/invisible'
import type { Session } from './cursorList'

export class SessionRegistry {
    private readonly known = shallowReactive(new Map<string, Session>())
    /** Deletion is final. An answer of the service that was sent before it must not bring the session back. */
    private readonly removed = new Set<string>()
    /** Number of changes in progress. */
    private readonly pending = new Map<string, number>()

    get(id: string): Session | undefined {
        return this.known.get(id)
    }

    /** Titles can come from others, by an import or a shared conversation. They must not reverse the text around them. */
    private store(session: Session): void {
        const title = removeInvisible(session.title)
        this.known.set(session.session_id, title === session.title ? session : { ...session, title })
    }

    all(): Session[] {
        return [...this.known.values()]
    }

    /** Store sessions as the service describes them, except those that are being changed or were removed. */
    put(sessions: Session[]): void {
        for (const session of sessions) {
            const id = session.session_id
            if (!this.removed.has(id) && !this.pending.has(id)) this.store(session)
        }
    }

    /** Change a session, if it is known. */
    patch(id: string, changes: Partial<Session>): void {
        const session = this.known.get(id)
        if (session) this.store({ ...session, ...changes })
    }

    /** Forget sessions that the list of the service no longer has. They may still exist. */
    forget(ids: string[]): void {
        for (const id of ids) if (!this.pending.has(id)) this.known.delete(id)
    }

    /** Remove sessions that are being deleted, and return those that were known. */
    remove(ids: string[]): Session[] {
        const sessions = ids.flatMap((id) => this.known.get(id) ?? [])
        for (const id of ids) {
            this.removed.add(id)
            this.known.delete(id)
        }
        return sessions
    }

    /** Take a removal back, because the deletion failed. */
    restore(ids: string[], sessions: Session[]): void {
        for (const id of ids) this.removed.delete(id)
        this.put(sessions)
    }

    clear(): void {
        this.known.clear()
        this.removed.clear()
        this.pending.clear()
    }

    /**
     * Apply changes at once, send them, and apply what the service has made of them; take them back if it refuses.
     * Fields that were changed again meanwhile are left alone.
     */
    async change<K extends keyof Session>(
        session: Session,
        changes: Pick<Session, K>,
        send: () => Promise<Pick<Session, K>>,
    ): Promise<void> {
        const id = session.session_id
        const keys = Object.keys(changes) as K[]
        const before = this.known.get(id) ?? session
        this.store({ ...before, ...changes })
        this.pending.set(id, (this.pending.get(id) ?? 0) + 1)
        const apply = (result: Pick<Session, K>) => {
            const current = this.known.get(id)
            if (!current) return
            const own = keys.filter((key) => current[key] === changes[key])
            this.store({ ...current, ...Object.fromEntries(own.map((key) => [key, result[key]])) })
        }
        try {
            apply(await send())
        } catch (error) {
            apply(before)
            throw error
        } finally {
            const left = (this.pending.get(id) ?? 1) - 1
            if (left > 0) this.pending.set(id, left)
            else this.pending.delete(id)
        }
    }
}
