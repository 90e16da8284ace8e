// Seconds that are left until a time, counted down.

import { onScopeDispose, ref, type Ref } from 'vue'

/** Return the seconds left, and a function that starts the countdown. Suspended tabs catch up. */
export function useCountdown(): { secondsLeft: Readonly<Ref<number>>; start: (seconds: number) => void } {
    const secondsLeft = ref(0)
    let end = 0
    let timer: ReturnType<typeof setInterval> | undefined

    function update(): void {
        secondsLeft.value = Math.max(0, Math.ceil((end - performance.now()) / 1000))
        if (secondsLeft.value === 0) clearInterval(timer)
    }

    function start(seconds: number): void {
        clearInterval(timer)
        end = performance.now() + seconds * 1000
        timer = setInterval(update, 1000)
        update()
    }

    onScopeDispose(() => clearInterval(timer))
    return { secondsLeft, start }
}
