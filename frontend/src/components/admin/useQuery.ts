// Filters in the query of the page's URL.

import { computed } from 'vue'
import { useRoute, useRouter, type RouteLocationRaw } from 'vue-router'

export type QueryChanges = Record<string, string | number | undefined>

export function useQuery() {
    const route = useRoute()
    const router = useRouter()
    const query = computed(() => route.query)

    /** Return this page with changed parameters. Empty ones are removed. */
    function linkTo(changes: QueryChanges): RouteLocationRaw {
        const changed = { ...route.query, ...changes }
        return {
            query: Object.fromEntries(
                Object.entries(changed).filter(([, value]) => value !== undefined && value !== ''),
            ),
        }
    }

    /** Change parameters. The list starts at its first page again. */
    function change(changes: QueryChanges): void {
        void router.push(linkTo({ after: undefined, page: undefined, ...changes }))
    }

    return { query, linkTo, change }
}
