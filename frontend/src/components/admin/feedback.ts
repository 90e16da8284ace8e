// Ratings of a report, added up by group.

interface RatingRow {
    group: string | null
    up: number
    down: number
}

export interface RatingSum {
    name: string
    up: number
    down: number
}

/** Return the sum of each group over all buckets, the largest first. */
export function sumRatings(rows: readonly RatingRow[], nameOf: (group: string | null) => string): RatingSum[] {
    const sums = new Map<string, RatingSum>()
    for (const { group, up, down } of rows) {
        const name = nameOf(group)
        const sum = sums.get(name) ?? { name, up: 0, down: 0 }
        sums.set(name, { name, up: sum.up + up, down: sum.down + down })
    }
    return [...sums.values()].filter(({ up, down }) => up + down > 0).sort((a, b) => b.up + b.down - a.up - a.down)
}
