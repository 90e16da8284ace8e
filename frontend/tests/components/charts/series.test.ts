import { expect, it } from 'vitest'
import { areWhole, change, fields, isEmpty, pivot } from '@/components/charts/series'
import { seriesStyle } from '@/components/charts/seriesStyles'

const rows = [
    { start: 'mon', model: 'a', turns: 1 },
    { start: 'mon', model: 'b', turns: 2 },
    { start: 'tue', model: 'b', turns: 3 },
]

it('makes a series of each group, with gaps where it has no row', () => {
    expect(
        pivot(
            rows,
            (row) => row.model,
            (row) => row.turns,
        ),
    ).toEqual({
        starts: ['mon', 'tue'],
        series: [
            { name: 'a', values: [1, null] },
            { name: 'b', values: [2, 3] },
        ],
    })
})

it('recognizes a chart of zeros', () => {
    const set = (turns: number | null) =>
        fields([{ start: 'mon', turns }], [{ name: 'turns', value: (row) => row.turns }])
    expect([0, null, 1].map((turns) => isEmpty(set(turns)))).toEqual([true, true, false])
})

it('compares with the period before, if there is one', () => {
    expect(change(15, 10)).toBe(0.5)
    expect(change(15, 0)).toBeNull()
})

it('distinguishes series by more than their colour', () => {
    const styles = Array.from({ length: 12 }, (_, index) => seriesStyle(index))
    expect(new Set(styles.slice(0, 6).map(({ dash }) => dash.join())).size).toBe(6)
    expect(new Set(styles.map(({ color, dash }) => `${color} ${dash.join()}`)).size).toBe(12)
})

it('recognizes counts', () => {
    expect(areWhole([{ name: 'a', values: [1, null, 0] }])).toBe(true)
    expect(areWhole([{ name: 'a', values: [1, 0.5] }])).toBe(false)
})
