import { describe, expect, it } from 'vitest'
import { attemptsOf } from '@/components/admin/deliveryLog'
import { sumRatings } from '@/components/admin/feedback'
import { instanceFacts } from '@/components/admin/instanceState'
import { averageShares, cohortsOf } from '@/components/admin/retention'

describe('retention', () => {
    const row = (start: string, users: number, period: number, active: number) => ({
        cohort_start: start,
        users,
        period,
        active,
        share: users ? active / users : 0,
    })
    const cohorts = cohortsOf([row('a', 10, 0, 10), row('a', 10, 1, 5), row('b', 0, 0, 0), row('c', 30, 0, 15)])

    it('leaves out periods without registrations', () => {
        expect(cohorts.map(({ start }) => start)).toEqual(['a', 'c'])
    })

    it('weighs cohorts by their accounts, and ignores those that have not reached a period', () => {
        expect(averageShares(cohorts)).toEqual([25 / 40, 0.5])
        expect(averageShares([])).toEqual([])
    })
})

it('adds up ratings by group', () => {
    const rows = [
        { group: 'small', up: 1, down: 0 },
        { group: null, up: 0, down: 0 },
        { group: 'large', up: 2, down: 3 },
        { group: 'small', up: 1, down: 1 },
    ]
    expect(sumRatings(rows, (group) => group ?? 'unknown')).toEqual([
        { name: 'large', up: 2, down: 3 },
        { name: 'small', up: 2, down: 1 },
    ])
})

it('reads the statistics of a process', () => {
    const facts = instanceFacts({
        database: { in_use: 1, free: 2, max: 50 },
        redis: { is_away: true, outages: 3 },
        turns: 4,
        models: { small: 'half_open' },
        model_parameters: { small: { max_tokens: 'max_completion_tokens', temperature: null } },
    })
    expect(facts).toEqual({
        pool: { inUse: 1, free: 2, max: 50 },
        redisIsAway: true,
        redisOutages: 3,
        running: [{ name: 'turns', count: 4 }],
        breakers: [{ model: 'small', state: 'half_open' }],
        changes: [
            { model: 'small', parameter: 'max_tokens', replacement: 'max_completion_tokens' },
            { model: 'small', parameter: 'temperature', replacement: null },
        ],
    })
    expect(instanceFacts({ model_parameters: { small: 'x' } }).changes).toEqual([])
    expect(instanceFacts({})).toMatchObject({ pool: null, redisIsAway: null, breakers: [] })
})

it('reads the log of a delivery', () => {
    const [done, failed] = attemptsOf([
        {
            at: '2026-11-23T04:13:21Z',
            attempt: 1,
            duration_ms: 84,
            error_code: null,
            request: { method: 'POST', headers: { 'webhook-id': '1' } },
            response: { status: 204, headers: [['server', 'nginx']] },
        },
        { at: '2026-11-23T04:14:21Z', duration_ms: 5, error_code: 'timeout' },
    ])
    expect(done).toMatchObject({ number: 1, status: 204, errorCode: null })
    expect(done?.parts.map(({ text }) => text)).toEqual(['POST\nwebhook-id: 1', 'HTTP 204\nserver: nginx'])
    expect(failed).toMatchObject({ number: 2, status: null, errorCode: 'timeout', parts: [] })
})
