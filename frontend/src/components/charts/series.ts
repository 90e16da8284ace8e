// Rows of a report as series of a chart.

export interface Series {
    name: string
    values: (number | null)[]
}

export interface SeriesSet {
    /** Start of each bucket. */
    starts: string[]
    series: Series[]
}

/** Return whether all values are counts: the axis then has no fractions. */
export function areWhole(series: readonly Series[]): boolean {
    return series.every(({ values }) => values.every((value) => value === null || Number.isInteger(value)))
}

/** Return one series for each name, with a value for each bucket. Rows are ordered by bucket. */
export function pivot<Row extends { start: string }>(
    rows: readonly Row[],
    nameOf: (row: Row) => string,
    valueOf: (row: Row) => number | null,
): SeriesSet {
    const starts = [...new Set(rows.map((row) => row.start))]
    const position = new Map(starts.map((start, index) => [start, index]))
    const byName = new Map<string, (number | null)[]>()
    for (const row of rows) {
        const name = nameOf(row)
        const values = byName.get(name) ?? Array<number | null>(starts.length).fill(null)
        values[position.get(row.start) ?? 0] = valueOf(row)
        byName.set(name, values)
    }
    return { starts, series: [...byName].map(([name, values]) => ({ name, values })) }
}

/** Return several fields of the same rows as series. */
export function fields<Row extends { start: string }>(
    rows: readonly Row[],
    named: readonly { name: string; value: (row: Row) => number | null }[],
): SeriesSet {
    return {
        starts: rows.map((row) => row.start),
        series: named.map(({ name, value }) => ({ name, values: rows.map(value) })),
    }
}

/** Whether a chart would show nothing but zeros. */
export function isEmpty({ series }: SeriesSet): boolean {
    return series.every(({ values }) => values.every((value) => !value))
}

/** Return the change from an earlier value as a share of it; null if there is nothing to compare with. */
export function change(now: number, before: number): number | null {
    return before === 0 ? null : (now - before) / before
}
