import { describe, expect, it } from 'vitest'
import type { LocationQuery } from 'vue-router'
import {
    dayParameters,
    idParameter,
    periodQuery,
    pageParameter,
    parseRange,
    rangeParameters,
} from '@/components/admin/reportQuery'

const NOW = Date.UTC(2026, 10, 30, 6, 7)

describe('parseRange', () => {
    it('has defaults', () => {
        expect(parseRange({}, 'Europe/Berlin')).toEqual({
            preset: '30d',
            from: '',
            to: '',
            zone: 'Europe/Berlin',
            bucket: 'day',
        })
    })

    it('takes the interval of the preset unless one is chosen', () => {
        expect(parseRange({ range: '24h' }, 'UTC').bucket).toBe('hour')
        expect(parseRange({ range: '24h', bucket: 'day' }, 'UTC').bucket).toBe('day')
    })

    it.each<LocationQuery>([
        { range: 'custom' },
        { range: 'custom', from: '2026-02-30', to: '2026-03-01' },
        { range: 'custom', from: '2026-03-02', to: '2026-03-01' },
        { range: 'year', bucket: 'minute' },
    ])('ignores %o', (query) => {
        expect(parseRange(query, 'UTC')).toMatchObject({ preset: '30d', bucket: 'day' })
    })
})

describe('rangeParameters', () => {
    it('begins a preset at a full quarter-hour', () => {
        const range = parseRange({ range: '24h' }, 'UTC')
        expect(rangeParameters(range, NOW)).toEqual({ from: '2026-11-29T06:15:00.000Z', timezone: 'UTC' })
    })

    it('includes the last day, in the time zone, also when clocks change', () => {
        const range = parseRange({ range: 'custom', from: '2026-10-25', to: '2026-10-25', tz: 'Europe/Berlin' }, 'UTC')
        expect(rangeParameters(range, NOW)).toEqual({
            from: '2026-10-24T22:00:00.000Z',
            to: '2026-10-25T23:00:00.000Z',
            timezone: 'Europe/Berlin',
        })
    })
})

it('keeps the period for other reports', () => {
    expect(periodQuery({ range: '7d', tz: 'UTC', show: 'small', group_by: 'model' })).toEqual({
        range: '7d',
        tz: 'UTC',
    })
})

it('ignores parameters that the service would refuse', () => {
    expect(dayParameters({ from: 'yesterday', to: '2026-01-31' }, 'UTC')).toEqual({
        from: undefined,
        to: '2026-02-01T00:00:00.000Z',
    })
    expect(idParameter({ user: "'; --" }, 'user')).toBeUndefined()
    expect(idParameter({ user: '01a22b1f-0864-764c-83ce-49fa93cc4ca0' }, 'user')).toBeDefined()
    expect(['2', '-1', 'x', '1.9'].map((page) => pageParameter({ page }))).toEqual([2, 1, 1, 1])
})
