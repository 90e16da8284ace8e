// Quotas of the account, and what it has used of them.

import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import { getQuota, type CostAllowance, type QuotaStanding, type TokenAllowance } from '@/api/generated/chat'

/** Part of a quota from which its use is shown prominently. */
const WARNING = 0.8
/** Milliseconds to wait after a reset before the quotas are read again. */
const RESET_DELAY = 2000
/** Longest delay of a timer. */
const MAX_DELAY = 2 ** 31 - 1

export type QuotaName = keyof QuotaStanding

export interface QuotaUse {
    name: QuotaName
    limit: number
    /** Used, or reserved for answers in progress. */
    used: number
    /** 0 to 1. */
    fraction: number
    resetsAt: string
    level: 'normal' | 'warning' | 'exceeded'
}

/** Return the quota of which the largest part is used; null if there is no limit. */
export function mostUsed(standing: QuotaStanding): QuotaUse | null {
    const uses = (Object.keys(standing) as QuotaName[]).flatMap((name) => quotaUse(name, standing[name]) ?? [])
    return uses.reduce<QuotaUse | null>(
        (most, use) => (most === null || use.fraction > most.fraction ? use : most),
        null,
    )
}

/** Return the use of a quota; null if it has no limit. */
export function quotaUse(name: QuotaName, allowance: TokenAllowance | CostAllowance): QuotaUse | null {
    if (allowance.limit === null) return null
    const limit = Number(allowance.limit)
    const used = Number(allowance.used) + Number(allowance.reserved)
    const fraction = limit > 0 ? Math.min(1, used / limit) : 1
    const level = fraction >= 1 ? 'exceeded' : fraction >= WARNING ? 'warning' : 'normal'
    return { name, limit, used, fraction, resetsAt: allowance.resets_at, level }
}

export const useQuota = defineStore('quota', () => {
    const standing = ref<QuotaStanding | null>(null)
    const use = computed(() => (standing.value === null ? null : mostUsed(standing.value)))
    let timer: ReturnType<typeof setTimeout> | undefined

    /** Read the quotas, and again when the next one resets. After a failure the last known values stay: the service enforces the quotas. */
    async function load(): Promise<void> {
        try {
            standing.value = await getQuota()
        } catch {
            return
        }
        clearTimeout(timer)
        if (use.value === null) return
        const delay = new Date(use.value.resetsAt).getTime() - Date.now() + RESET_DELAY
        timer = setTimeout(() => void load(), Math.min(Math.max(delay, RESET_DELAY), MAX_DELAY))
    }

    return { standing, use, load }
})
