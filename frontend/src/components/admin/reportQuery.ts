// Parameters of the reports in the query of the page's URL: a shared link shows the same report.

import { parseDate } from '@internationalized/date'
import type { LocationQuery, LocationQueryRaw, LocationQueryValue } from 'vue-router'

export const PRESETS = ['24h', '7d', '30d', '90d', '365d'] as const
export const BUCKETS = ['hour', 'day', 'week'] as const
export const ORDERS = ['cost', 'tokens', 'turns'] as const
export type Preset = (typeof PRESETS)[number]
export type Bucket = (typeof BUCKETS)[number]
export type Order = (typeof ORDERS)[number]

const HOURS: Record<Preset, number> = { '24h': 24, '7d': 168, '30d': 720, '90d': 2160, '365d': 8760 }
const DEFAULT_BUCKETS: Record<Preset, Bucket> = {
    '24h': 'hour',
    '7d': 'day',
    '30d': 'day',
    '90d': 'day',
    '365d': 'week',
}
const QUARTER = 15 * 60_000
const HOUR = 3_600_000
/** Parameters of the period, which all reports understand. */
const PERIOD_PARAMETERS = ['range', 'from', 'to', 'tz', 'bucket']

export interface ReportRange {
    /** null: `from` and `to` are chosen. */
    preset: Preset | null
    /** First and last day, as dates in the time zone. */
    from: string
    to: string
    zone: string
    bucket: Bucket
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** Return an id in the query. Other text is ignored, because the service would refuse it. */
export function idParameter(query: LocationQuery, name: string): string | undefined {
    const value = first(query[name])
    return UUID.test(value) ? value : undefined
}

export function pageParameter(query: LocationQuery): number {
    return Math.max(1, Math.trunc(Number(first(query.page))) || 1)
}

/** Return the first value of a parameter. */
export function first(value: LocationQueryValue | LocationQueryValue[] | undefined): string {
    return (Array.isArray(value) ? value[0] : value) ?? ''
}

/** Return the value if it is one of the choices, or else the fallback. */
export function choice<T extends string>(value: unknown, choices: readonly T[], fallback: T): T {
    return choices.find((each) => each === value) ?? fallback
}

/** Return the part of a query that selects the same period in another report. */
export function periodQuery(query: LocationQuery): LocationQueryRaw {
    return Object.fromEntries(Object.entries(query).filter(([name]) => PERIOD_PARAMETERS.includes(name)))
}

function isDate(text: string): boolean {
    try {
        return parseDate(text).toString() === text
    } catch {
        return false
    }
}

/** Return the range in a URL. Values that are missing or invalid are replaced by defaults. */
export function parseRange(query: LocationQuery, localZone: string): ReportRange {
    const [from, to] = [first(query.from), first(query.to)]
    const zone = first(query.tz) || localZone
    const custom = query.range === 'custom' && isDate(from) && isDate(to) && from <= to
    const preset = custom ? null : choice(query.range, PRESETS, '30d')
    const fallback = preset ? DEFAULT_BUCKETS[preset] : 'day'
    return {
        preset,
        from: custom ? from : '',
        to: custom ? to : '',
        zone,
        bucket: choice(query.bucket, BUCKETS, fallback),
    }
}

/** Return a range as parameters of the service. Its end is exclusive. A preset ends now and has a whole number of hours. */
export function rangeParameters(range: ReportRange, now: number): { from?: string; to?: string; timezone: string } {
    if (range.preset === null) {
        return {
            from: startOfDay(range.from, range.zone, 0),
            to: startOfDay(range.to, range.zone, 1),
            timezone: range.zone,
        }
    }
    const end = Math.floor(now / QUARTER) * QUARTER + QUARTER
    return { from: new Date(end - HOURS[range.preset] * HOUR).toISOString(), timezone: range.zone }
}

function startOfDay(date: string, zone: string, daysLater: number): string {
    return parseDate(date).add({ days: daysLater }).toDate(zone).toISOString()
}

/** Return the days of a list's filter as times. The end is exclusive. Invalid dates are left out. */
export function dayParameters(query: LocationQuery, zone: string): { from?: string; to?: string } {
    const [from, to] = [first(query.from), first(query.to)]
    return {
        from: isDate(from) ? startOfDay(from, zone, 0) : undefined,
        to: isDate(to) ? startOfDay(to, zone, 1) : undefined,
    }
}

export function localZone(): string {
    return Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC'
}

/** Return the time zones that a reader can choose: those that the browser knows, and UTC. */
export function timeZones(current: string): string[] {
    return [...new Set(['UTC', current, ...Intl.supportedValuesOf('timeZone')])]
}
