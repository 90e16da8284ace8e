// Options that all charts share.

import type { ChartOptions } from 'chart.js'

interface Look {
    text: string
    strong: string
    grid: string
    background: string
    font: string
    animation: false | { duration: number }
    rtl: boolean
    formatValue: (value: number) => string
    /** Whether all values are whole numbers. */
    isWhole: boolean
}

/** Return options for a chart with values on one axis and names or times on the other. */
export function cartesianOptions<T extends 'line' | 'bar'>(
    look: Look,
    { stacked = false, horizontal = false }: { stacked?: boolean; horizontal?: boolean } = {},
): ChartOptions<T> {
    const font = { family: look.font, size: 12 }
    const values = {
        beginAtZero: true,
        stacked,
        border: { display: false },
        grid: { color: look.grid },
        ticks: {
            color: look.text,
            font,
            maxTicksLimit: 6,
            ...(look.isWhole && { precision: 0 }),
            callback: (value: number | string) => look.formatValue(Number(value)),
        },
    }
    const names = {
        stacked,
        grid: { display: false },
        border: { color: look.grid },
        ticks: { color: look.text, font, maxRotation: 0, autoSkip: !horizontal, autoSkipPadding: 16 },
    }
    const options: ChartOptions<'line' | 'bar'> = {
        responsive: true,
        maintainAspectRatio: false,
        animation: look.animation,
        indexAxis: horizontal ? 'y' : 'x',
        interaction: { mode: 'index', intersect: false, axis: horizontal ? 'y' : 'x' },
        scales: horizontal ? { x: values, y: names } : { x: names, y: values },
        plugins: {
            legend: { display: false },
            tooltip: {
                backgroundColor: look.background,
                borderColor: look.grid,
                borderWidth: 1,
                titleColor: look.strong,
                bodyColor: look.strong,
                titleFont: { ...font, weight: 600 },
                bodyFont: font,
                padding: 10,
                boxPadding: 4,
                usePointStyle: true,
                rtl: look.rtl,
                textDirection: look.rtl ? 'rtl' : 'ltr',
                callbacks: {
                    label: ({ dataset, parsed }) => {
                        const value = horizontal ? parsed.x : parsed.y
                        return ` ${dataset.label ?? ''}: ${value === null ? '–' : look.formatValue(value)}`
                    },
                },
            },
        },
    }
    return options as ChartOptions<T>
}
