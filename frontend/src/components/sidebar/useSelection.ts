// Selection of several sessions of the list.

import { computed, ref } from 'vue'
import { useSessions } from '@/stores/sessions'

export function useSelection() {
    const sessions = useSessions()
    const isSelecting = ref(false)
    const chosen = ref<ReadonlySet<string>>(new Set())
    let anchor: string | null = null

    /** The selected sessions that the list still shows. */
    const ids = computed(() => sessions.listed.map((each) => each.session_id).filter((id) => chosen.value.has(id)))

    function start(): void {
        isSelecting.value = true
    }

    function stop(): void {
        isSelecting.value = false
        chosen.value = new Set()
        anchor = null
    }

    /** Select a session or not; with `range`, all from the last one that was toggled to it. */
    function toggle(id: string, range = false): void {
        const isChosen = !chosen.value.has(id)
        const next = new Set(chosen.value)
        for (const each of range ? between(anchor, id) : [id]) {
            if (isChosen) next.add(each)
            else next.delete(each)
        }
        chosen.value = next
        anchor = id
    }

    function between(first: string | null, last: string): string[] {
        const all = sessions.listed.map((each) => each.session_id)
        const [from, to] = [all.indexOf(first ?? last), all.indexOf(last)]
        if (from < 0 || to < 0) return [last]
        return all.slice(Math.min(from, to), Math.max(from, to) + 1)
    }

    /** Select all sessions that the list shows. */
    function chooseAll(): void {
        chosen.value = new Set(sessions.listed.map((each) => each.session_id))
    }

    return { isSelecting, ids, has: (id: string) => chosen.value.has(id), start, stop, toggle, chooseAll }
}
