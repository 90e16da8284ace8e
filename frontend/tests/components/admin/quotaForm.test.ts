import { expect, it } from 'vitest'
import { emptyQuotaForm, isAmount, quotaUpdate } from '@/components/admin/quotaForm'

it('sends only what is changed', () => {
    const form = emptyQuotaForm()
    expect(quotaUpdate(form)).toBeNull()
    form.tokens_per_day = { choice: 'limit', amount: '5000' }
    form.cost_per_day = { choice: 'none', amount: '' }
    form.cost_per_month = { choice: 'default', amount: '3' }
    expect(quotaUpdate(form)).toEqual({ tokens_per_day: 5000, cost_per_day: 0, cost_per_month: null })
})

it('sends nothing while an amount is missing', () => {
    const form = emptyQuotaForm()
    form.cost_per_day = { choice: 'limit', amount: '' }
    expect(quotaUpdate(form)).toBeNull()
})

it.each(['0', '-1', '1.5', '1e3', 'many', ''])('refuses %s tokens', (amount) => {
    expect(isAmount('tokens_per_day', amount)).toBe(false)
})

it.each(['2.50', '20', '0.000000001'])('accepts %s dollars', (amount) => {
    expect(isAmount('cost_per_day', amount)).toBe(true)
})
