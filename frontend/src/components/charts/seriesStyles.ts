// Style of each series. Lines differ in colour, dashes and points, areas in colour and pattern: colour is never alone.

import type { PointStyle } from 'chart.js'

export interface SeriesStyle {
    /** Name of a CSS variable. */
    color: string
    dash: number[]
    point: PointStyle
    pattern: 'solid' | 'diagonal' | 'dots' | 'horizontal'
}

const COLORS = 6
const DASHES = [[], [6, 3], [2, 2], [10, 3, 2, 3], [1, 3], [12, 4]]
const POINTS: PointStyle[] = ['circle', 'rect', 'triangle', 'rectRot', 'cross', 'star']
const PATTERNS = ['solid', 'diagonal', 'dots', 'horizontal'] as const

function cyclic<T>(values: readonly T[], index: number): T {
    return values[index % values.length] as T
}

/** Return the style of the series at a position. After all colours, the dashes are shifted, so that pairs are unique. */
export function seriesStyle(index: number): SeriesStyle {
    const round = Math.floor(index / COLORS)
    return {
        color: `--chart-${(index % COLORS) + 1}`,
        dash: cyclic(DASHES, index + round),
        point: cyclic(POINTS, index + round),
        pattern: cyclic(PATTERNS, index),
    }
}

const TILE = 8

/** Return a fill of a colour: plain, or with a pattern in the colour of the background. */
export function patternFill(
    context: CanvasRenderingContext2D,
    color: string,
    background: string,
    pattern: SeriesStyle['pattern'],
): CanvasPattern | string {
    if (pattern === 'solid') return color
    const tile = document.createElement('canvas')
    tile.width = tile.height = TILE
    const pen = tile.getContext('2d')
    if (!pen) return color
    pen.fillStyle = color
    pen.fillRect(0, 0, TILE, TILE)
    pen.strokeStyle = pen.fillStyle = background
    pen.lineWidth = 1.5
    if (pattern === 'dots') pen.fillRect(3, 3, 2, 2)
    else {
        // Diagonals continue in the corners of the neighbouring tiles.
        const lines =
            pattern === 'horizontal'
                ? [[0, 4, 8, 4]]
                : [
                      [0, 8, 8, 0],
                      [-2, 2, 2, -2],
                      [6, 10, 10, 6],
                  ]
        for (const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] of lines) {
            pen.beginPath()
            pen.moveTo(x1, y1)
            pen.lineTo(x2, y2)
            pen.stroke()
        }
    }
    return context.createPattern(tile, 'repeat') ?? color
}
