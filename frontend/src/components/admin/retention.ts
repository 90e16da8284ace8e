// Retention as a table: one line for each cohort, one column for each period after registration.

interface CohortRow {
    cohort_start: string
    users: number
    period: number
    active: number
    share: number
}

export interface Cohort {
    start: string
    users: number
    /** By the number of periods since registration. */
    periods: { active: number; share: number }[]
}

/** Return the cohorts that have accounts, oldest first. */
export function cohortsOf(rows: readonly CohortRow[]): Cohort[] {
    const cohorts = new Map<string, Cohort>()
    for (const { cohort_start: start, users, period, active, share } of rows) {
        if (users === 0) continue
        const cohort = cohorts.get(start) ?? { start, users, periods: [] }
        cohort.periods[period] = { active, share }
        cohorts.set(start, cohort)
    }
    return [...cohorts.values()]
}

/** Return the share of all accounts that were active in each period, for cohorts that have reached it. */
export function averageShares(cohorts: readonly Cohort[]): number[] {
    const length = Math.max(0, ...cohorts.map(({ periods }) => periods.length))
    return Array.from({ length }, (_, period) => {
        const reached = cohorts.filter(({ periods }) => periods.length > period)
        const users = reached.reduce((sum, cohort) => sum + cohort.users, 0)
        const active = reached.reduce((sum, cohort) => sum + (cohort.periods[period]?.active ?? 0), 0)
        return users ? active / users : 0
    })
}
