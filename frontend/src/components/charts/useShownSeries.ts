// Series of a chart that the reader has not hidden by its legend.

import { computed, ref } from 'vue'
import type { Series } from './series'

/** `index` is the position among all series, so that styles stay when others are hidden. */
export type ShownSeries = Series & { index: number }

export function useShownSeries(series: () => Series[]) {
    const hidden = ref(new Set<string>())
    const shown = computed<ShownSeries[]>(() =>
        series()
            .map((each, index) => ({ ...each, index }))
            .filter(({ name }) => !hidden.value.has(name)),
    )

    function toggle(name: string): void {
        if (!hidden.value.delete(name)) hidden.value.add(name)
    }

    return { hidden, shown, toggle }
}
