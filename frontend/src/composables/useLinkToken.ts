// Values in the fragment of the address (`#token=…&email=…`), which links in mails contain and no server sees.

import { computed } from 'vue'
import { useRoute } from 'vue-router'

export function useLinkToken() {
    const route = useRoute()
    // Not `route.hash`, which is decoded already: a `+` or `%` in an address would be decoded twice.
    const values = computed(() => (route.fullPath ? new URLSearchParams(rawFragment()) : new URLSearchParams()))
    const token = computed(() => values.value.get('token') ?? '')
    const email = computed(() => values.value.get('email') ?? '')
    return { token, email }
}

/** Return the fragment, in which a plus sign is itself and not a space. */
function rawFragment(): string {
    return location.hash.slice(1).replaceAll('+', '%2B')
}
