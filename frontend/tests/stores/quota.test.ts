import { expect, it } from 'vitest'
import type { CostAllowance, QuotaStanding, TokenAllowance } from '@/api/generated/chat'
import { mostUsed } from '@/stores/quota'

const DAY = '2026-12-01T00:00:00Z'
const MONTH = '2027-01-01T00:00:00Z'

function tokens(limit: number | null, used: number, reserved = 0): TokenAllowance {
    return { resets_at: DAY, limit, used, reserved, remaining: limit === null ? null : limit - used - reserved }
}

function cost(limit: string | null, used: string): CostAllowance {
    return { resets_at: MONTH, limit, used, reserved: '0', remaining: null }
}

function standing(changes: Partial<QuotaStanding>): QuotaStanding {
    return {
        tokens_per_day: tokens(null, 500),
        tokens_per_month: tokens(null, 500),
        cost_per_day: cost(null, '1'),
        cost_per_month: cost(null, '1'),
        ...changes,
    }
}

it('has nothing to show without a limit', () => {
    expect(mostUsed(standing({}))).toBeNull()
})

it('shows the quota of which the largest part is used', () => {
    const use = mostUsed(standing({ tokens_per_day: tokens(1000, 100), cost_per_month: cost('2.50', '1.25') }))
    expect(use).toEqual({
        name: 'cost_per_month',
        limit: 2.5,
        used: 1.25,
        fraction: 0.5,
        resetsAt: MONTH,
        level: 'normal',
    })
})

it.each([
    [799, 0, 'normal'],
    [700, 100, 'warning'],
    [1000, 0, 'exceeded'],
    [1200, 0, 'exceeded'],
])('classifies %i used and %i reserved of 1000 as %s', (used, reserved, level) => {
    expect(mostUsed(standing({ tokens_per_day: tokens(1000, used, reserved) }))?.level).toBe(level)
})

it('takes a limit of zero as exceeded', () => {
    expect(mostUsed(standing({ tokens_per_day: tokens(0, 0) }))?.level).toBe('exceeded')
})
