// Sessions of the account: the list beside the conversation, and changes of sessions, which are shown at once.

import { defineStore } from 'pinia'
import { computed, ref, shallowRef, triggerRef } from 'vue'
import {
    duplicateSession,
    getSession,
    listSessions,
    updateSession,
    type SessionDetail,
    type SessionResponse,
    type SessionUpdate,
} from '@/api/generated/chat'
import { onSessionEnd } from '@/api/tokens'
import { archiveMany, deleteMany, type Selection } from './sessions/bulk'
import { CursorList, type Session } from './sessions/cursorList'
import { compareSessions } from './sessions/groups'
import { SessionRegistry } from './sessions/registry'
import { onTabMessage, announce } from './sessions/tabs'

export type { Session } from './sessions/cursorList'

/** Which sessions the list shows. */
export interface SessionView {
    archived: boolean
    tag: string | null
}

/** Changes of a session. */
export type SessionChanges = Pick<SessionUpdate, 'title' | 'is_archived' | 'is_pinned' | 'tags' | 'model'>

const DEFAULTS = { title_source: 'default', model: null, is_archived: false, is_pinned: false } as const

function createLists({ archived, tag }: SessionView): { pinned: CursorList; others: CursorList } {
    const list = (pinned: boolean) =>
        new CursorList((cursor, size) =>
            listSessions({ query: { archived, tag: tag ?? undefined, pinned, cursor: cursor ?? undefined, size } }),
        )
    return { pinned: list(true), others: list(false) }
}

export const useSessions = defineStore('sessions', () => {
    const registry = new SessionRegistry()
    const view = ref<SessionView>({ archived: false, tag: null })
    const lists = shallowRef(createLists(view.value))
    const isLoading = ref(false)
    const isLoaded = ref(false)
    const error = shallowRef<unknown>(null)
    /** Requests for one session that are in progress, by its id. Those of a login that has ended are left out. */
    const reads = new Map<string, Promise<SessionDetail>>()

    /** The sessions of the view, in the order of the list, as far as they were read. */
    const listed = computed(() =>
        registry
            .all()
            .filter((each) => isInView(each) && listOf(each).covers(each))
            .sort(compareSessions),
    )
    const hasMore = computed(() => lists.value.pinned.hasMore || lists.value.others.hasMore)
    /** The tags of the sessions that are known. */
    const tags = computed(() => [...new Set(registry.all().flatMap((each) => each.tags))].sort())

    function isInView(session: Session): boolean {
        const { archived, tag } = view.value
        return session.is_archived === archived && (tag === null || session.tags.includes(tag))
    }

    function listOf(session: Session): CursorList {
        return session.is_pinned ? lists.value.pinned : lists.value.others
    }

    /** Return whether the service no longer lists a session where it would have its place. */
    function isMissing(session: Session): boolean {
        const id = session.session_id
        const isUnchanged = registry.get(id) === session
        return isUnchanged && isInView(session) && listOf(session).covers(session) && !listOf(session).has(id)
    }

    /** Return a session if it is known: it was listed, added, loaded or changed. */
    function find(id: string): Session | undefined {
        return registry.get(id)
    }

    /** Read the next part of the list. The first call reads the first parts of the pinned sessions and of the others. */
    async function loadMore(): Promise<void> {
        if (isLoading.value) return
        const current = lists.value
        const { pinned, others } = current
        const knownBefore = isLoaded.value ? [] : registry.all()
        isLoading.value = true
        error.value = null
        try {
            const next = isLoaded.value ? [pinned.hasMore ? pinned : others] : [pinned, others]
            const parts = await Promise.all(next.map((list) => list.readNext()))
            if (current !== lists.value) return
            registry.forget(knownBefore.filter(isMissing).map((each) => each.session_id))
            for (const part of parts) registry.put(part)
            isLoaded.value = true
            triggerRef(lists)
        } catch (exception) {
            if (current === lists.value) error.value = exception
        } finally {
            if (current === lists.value) isLoading.value = false
        }
    }

    /** Read the beginning of the list again, because another device may have changed it. The next call repeats a failure. */
    async function refresh(): Promise<void> {
        const current = lists.value
        if (!isLoaded.value) return loadMore()
        const results = await Promise.all([current.pinned.readAgain(), current.others.readAgain()]).catch(() => [])
        if (current !== lists.value) return
        registry.forget(results.flatMap(({ gone }) => gone))
        for (const { sessions } of results) registry.put(sessions)
        triggerRef(lists)
    }

    /** Show other sessions; with the same view, read the list from the beginning. */
    async function show(next: SessionView): Promise<void> {
        view.value = next
        lists.value = createLists(next)
        isLoaded.value = isLoading.value = false
        await loadMore()
    }

    /** Read the list from the beginning, in all tabs, because much has changed. */
    function reload(): void {
        announce({ kind: 'reload' })
        void show(view.value)
    }

    function announceChange(id: string): void {
        const session = registry.get(id)
        if (session) announce({ kind: 'changed', session })
    }

    /** Add a session that was just created. */
    function add(created: SessionResponse & Partial<Session>): void {
        registry.put([{ ...DEFAULTS, tags: [], ...created }])
        announceChange(created.session_id)
    }

    /** Read one session and add it. Parts of the page that need it at the same time share the request. */
    function load(id: string): Promise<SessionDetail> {
        const started = reads.get(id)
        if (started) return started
        const read: Promise<SessionDetail> = getSession({
            path: { session_id: id },
            query: { include_messages: false },
        })
            .then((session) => {
                if (reads.get(id) === read) registry.put([session])
                return session
            })
            .finally(() => {
                if (reads.get(id) === read) reads.delete(id)
            })
        reads.set(id, read)
        return read
    }

    /** Apply what a question or an answer has changed: it moves the session to the top of the list. */
    function touch(id: string, changes: Pick<Session, 'updated_at' | 'message_count'>): void {
        registry.patch(id, changes)
        announceChange(id)
    }

    /** Apply a title that the service has sent. */
    function applyTitle(id: string, title: string): void {
        registry.patch(id, { title })
        announceChange(id)
    }

    /** Change a session. The change is shown at once, and taken back if the service refuses it. */
    async function update(session: Session, changes: SessionChanges): Promise<void> {
        const id = session.session_id
        const send = () => updateSession({ path: { session_id: id }, body: changes })
        await registry.change(session, changes as Session, send)
        announceChange(id)
    }

    /** Copy a session, and return the copy. */
    async function duplicate(session: Session, idempotencyKey: string): Promise<Session> {
        const { session_id } = await duplicateSession({
            path: { session_id: session.session_id },
            body: {},
            headers: { 'Idempotency-Key': idempotencyKey },
        })
        const copy = await load(session_id)
        announceChange(session_id)
        return copy
    }

    /** Delete sessions for good. */
    async function remove(selection: Selection): Promise<void> {
        const ids = selection === 'all' ? registry.all().map((each) => each.session_id) : selection
        const sessions = registry.remove(ids)
        try {
            await deleteMany(selection)
            if (selection === 'all') reload()
            else announce({ kind: 'removed', ids })
        } catch (exception) {
            // Some may have been deleted: the list is read again.
            registry.restore(ids, sessions)
            void show(view.value)
            throw exception
        }
    }

    /** Archive sessions, or return them to the list. */
    async function archive(selection: Selection, archived: boolean): Promise<void> {
        const ids = selection === 'all' ? registry.all().map((each) => each.session_id) : selection
        for (const id of ids) registry.patch(id, { is_archived: archived })
        try {
            await archiveMany(selection, archived)
        } finally {
            // The list is read again, because some may not have been archived, and those of the view are others now.
            reload()
        }
    }

    onTabMessage((message) => {
        if (message.kind === 'changed') registry.put([message.session])
        else if (message.kind === 'removed') registry.remove(message.ids)
        else void show(view.value)
    })
    onSessionEnd(() => {
        registry.clear()
        reads.clear()
        view.value = { archived: false, tag: null }
        lists.value = createLists(view.value)
        isLoaded.value = isLoading.value = false
    })

    return {
        ...{ view, listed, tags, hasMore, isLoading, isLoaded, error },
        ...{ find, loadMore, refresh, show, reload, add, load, touch, applyTitle, update, duplicate, remove, archive },
    }
})
