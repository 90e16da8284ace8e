// Numbers, times and amounts in the locale of the reader.

import { computed } from 'vue'
import { useI18n } from 'vue-i18n'

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
    ['year', 31_536_000],
    ['month', 2_592_000],
    ['day', 86_400],
    ['hour', 3600],
    ['minute', 60],
    ['second', 1],
]

/** Return the tag for `Intl`: the browser's variant of the language of the page (de-AT for de), if it has one. */
function regionalTag(language: string): string {
    return navigator.languages.find((tag) => tag.split('-')[0] === language) ?? language
}

export function useFormats() {
    const { locale } = useI18n()
    const tag = computed(() => regionalTag(locale.value))

    function formatNumber(value: number, options?: Intl.NumberFormatOptions): string {
        return new Intl.NumberFormat(tag.value, options).format(value)
    }

    /** Format an amount of US dollars; small amounts with more digits. `cost` as the services send it, a decimal. */
    function formatCost(cost: number | string): string {
        const amount = Number(cost)
        const digits =
            amount !== 0 && Math.abs(amount) < 0.1 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: 2 }
        return formatNumber(amount, { style: 'currency', currency: 'USD', ...digits })
    }

    function formatDateTime(time: string | Date, options?: Intl.DateTimeFormatOptions): string {
        const format = options ?? { dateStyle: 'medium', timeStyle: 'short' }
        return new Intl.DateTimeFormat(tag.value, format).format(new Date(time))
    }

    /** Format a time relative to now: "3 hours ago". */
    function formatRelative(time: string | Date): string {
        const seconds = (new Date(time).getTime() - Date.now()) / 1000
        const [unit, size] = UNITS.find(([, each]) => Math.abs(seconds) >= each) ?? ['second', 1]
        return new Intl.RelativeTimeFormat(tag.value, { numeric: 'auto' }).format(Math.trunc(seconds / size), unit)
    }

    /** Format a duration in milliseconds: "850 ms", "2.4 s". */
    function formatDuration(milliseconds: number): string {
        const [value, unit] =
            milliseconds < 1000 ? [Math.round(milliseconds), 'millisecond'] : [milliseconds / 1000, 'second']
        return formatNumber(value, { style: 'unit', unit, maximumFractionDigits: 1 })
    }

    /** Format a time to wait, in seconds: "45 seconds", "3 minutes". */
    function formatWait(seconds: number): string {
        const [value, unit] = seconds < 120 ? [seconds, 'second'] : [Math.ceil(seconds / 60), 'minute']
        return formatNumber(value, { style: 'unit', unit, unitDisplay: 'long' })
    }

    /** Format a size in powers of 1024, as limits are set and operating systems show files: "100 MB" for 100 MiB. */
    function formatBytes(bytes: number): string {
        const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte']
        const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1)
        return formatNumber(bytes / 1024 ** power, { style: 'unit', unit: units[power], maximumFractionDigits: 1 })
    }

    return { formatNumber, formatCost, formatDateTime, formatRelative, formatDuration, formatWait, formatBytes }
}
