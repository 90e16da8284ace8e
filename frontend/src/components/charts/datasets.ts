// Series as datasets of Chart.js, in the colours of the page.

import type { ChartDataset } from 'chart.js'
import { patternFill, seriesStyle } from './seriesStyles'
import type { ShownSeries } from './useShownSeries'

interface Colors {
    color: (name: string) => string
    background: string
}

/** Up to this number of buckets, each has a visible point. */
const MAX_POINTS = 60

export function lineDatasets(series: ShownSeries[], theme: Colors): ChartDataset<'line', (number | null)[]>[] {
    return series.map(({ name, values, index }) => {
        const style = seriesStyle(index)
        const color = theme.color(style.color)
        return {
            label: name,
            data: values,
            borderColor: color,
            backgroundColor: color,
            borderDash: style.dash,
            borderWidth: 2,
            pointStyle: style.point,
            pointRadius: values.length > MAX_POINTS ? 0 : 2.5,
            pointHoverRadius: 5,
            tension: 0.2,
        }
    })
}

export function barDatasets(series: ShownSeries[], theme: Colors): ChartDataset<'bar', (number | null)[]>[] {
    return series.map(({ name, values, index }) => {
        const style = seriesStyle(index)
        const color = theme.color(style.color)
        return {
            label: name,
            data: values,
            borderColor: color,
            borderWidth: 1,
            backgroundColor: ({ chart }) => patternFill(chart.ctx, color, theme.background, style.pattern),
            maxBarThickness: 24,
        }
    })
}
