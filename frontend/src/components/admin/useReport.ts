// Report of a period that is in the URL.

import { computed } from 'vue'
import { choice, first, localZone, ORDERS, parseRange, rangeParameters, type Order } from './reportQuery'
import { useQuery } from './useQuery'
import { useResource } from '@/composables/useResource'

/** Parameters of a request for a report. The generated types of each report have those that it knows. */
export interface ReportParameters {
    from?: string
    to?: string
    timezone: string
}

export interface ReportSettings {
    range: ReturnType<typeof parseRange>
    order: Order
    groupBy: string
    /** Group to show alone. Empty: all. */
    show: string
}

/**
 * Load a report now and whenever its parameters in the URL change. `parameters` adds those of this report; its result
 * is also the query of the CSV file.
 */
export function useReport<Q extends object, T>(
    parameters: (settings: ReportSettings) => Q,
    load: (query: Q & ReportParameters, signal: AbortSignal) => Promise<T>,
) {
    const { query } = useQuery()
    const zone = localZone()
    const settings = computed<ReportSettings>(() => ({
        range: parseRange(query.value, zone),
        order: choice(query.value.order, ORDERS, 'cost'),
        groupBy: first(query.value.group_by),
        show: first(query.value.show),
    }))

    function currentQuery(): Q & ReportParameters {
        return { ...rangeParameters(settings.value.range, Date.now()), ...parameters(settings.value) }
    }

    const resource = useResource(
        (signal) => load(currentQuery(), signal),
        () => ({ range: { ...settings.value.range, bucket: undefined }, parameters: parameters(settings.value) }),
    )
    return { ...resource, settings, currentQuery }
}
