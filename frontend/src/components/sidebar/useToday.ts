// The day in the reader's time zone. Changes at midnight, so that groups by date stay right in a page that is left open.

import { useIntervalFn } from '@vueuse/core'
import { shallowRef, type Ref } from 'vue'

const CHECK_INTERVAL = 60_000

export function useToday(): Readonly<Ref<Date>> {
    const today = shallowRef(new Date())
    useIntervalFn(() => {
        const now = new Date()
        if (now.toDateString() !== today.value.toDateString()) today.value = now
    }, CHECK_INTERVAL)
    return today
}
