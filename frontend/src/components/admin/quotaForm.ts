// Form for the quotas of an account. The service does not tell whether a quota is the account's own or the default.

import type { QuotaUpdate } from '@/api/generated/admin'

export const QUOTAS = ['tokens_per_day', 'tokens_per_month', 'cost_per_day', 'cost_per_month'] as const
export type QuotaName = (typeof QUOTAS)[number]

/** `keep`: not changed. `default`: that of all accounts. `none`: no limit. `limit`: the amount. */
export const QUOTA_CHOICES = ['keep', 'default', 'none', 'limit'] as const

export interface QuotaField {
    choice: (typeof QUOTA_CHOICES)[number]
    amount: string
}

export type QuotaForm = Record<QuotaName, QuotaField>

export function emptyQuotaForm(): QuotaForm {
    return Object.fromEntries(QUOTAS.map((name) => [name, { choice: 'keep', amount: '' }])) as QuotaForm
}

/** Whether an amount can be sent: tokens are whole numbers, and 0 would mean "no limit". */
export function isAmount(name: QuotaName, amount: string): boolean {
    const text = String(amount).trim()
    return Number(text) > 0 && (name.startsWith('tokens') ? /^\d{1,15}$/ : /^\d{1,7}(\.\d{1,9})?$/).test(text)
}

/** Return the request for a form; null if it changes nothing or an amount is missing. */
export function quotaUpdate(form: QuotaForm): QuotaUpdate | null {
    const changed = QUOTAS.filter((name) => form[name].choice !== 'keep')
    if (changed.length === 0) return null
    const update: QuotaUpdate = {}
    for (const name of changed) {
        const { choice, amount } = form[name]
        if (choice === 'limit' && !isAmount(name, amount)) return null
        update[name] = choice === 'default' ? null : choice === 'none' ? 0 : Number(amount)
    }
    return update
}
