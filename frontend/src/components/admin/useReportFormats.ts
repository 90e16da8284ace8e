// Formats of the figures and times in reports.

import { useFormats } from '@/composables/useFormats'
import type { Bucket } from './reportQuery'

const BUCKET_FORMATS: Record<Bucket, Intl.DateTimeFormatOptions> = {
    hour: { month: 'short', day: 'numeric', hour: 'numeric', minute: '2-digit' },
    day: { month: 'short', day: 'numeric', weekday: 'short' },
    week: { month: 'short', day: 'numeric', year: '2-digit' },
}

export function useReportFormats() {
    const formats = useFormats()

    function percent(value: number): string {
        return formats.formatNumber(value, { style: 'percent', maximumFractionDigits: 1 })
    }

    /** Format a count; large ones with a unit: "1.2 M". */
    function compact(value: number): string {
        return formats.formatNumber(value, {
            notation: Math.abs(value) < 10_000 ? 'standard' : 'compact',
            maximumFractionDigits: 1,
        })
    }

    /** Format the start of a bucket in the time zone of its report. */
    function bucketTime(start: string, bucket: Bucket, timeZone: string): string {
        return formats.formatDateTime(start, { ...BUCKET_FORMATS[bucket], timeZone })
    }

    function milliseconds(value: number | null | undefined): string {
        return value === null || value === undefined ? '–' : formats.formatDuration(value)
    }

    return { ...formats, percent, compact, bucketTime, milliseconds }
}
