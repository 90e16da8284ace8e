// Button that opens a panel or a menu, whose code is loaded when the pointer or the focus comes: lists have many.

import { computed, ref, useId, type ComponentPublicInstance, type Ref } from 'vue'

/**
 * `attributes` are those of the button, with its listeners; `element` is where the panel is shown, and `isNeeded` tells
 * that it must be loaded.
 */
export function useOpeningButton(
    open: Ref<boolean>,
    button: Readonly<Ref<ComponentPublicInstance | null>>,
    opens: 'menu' | 'dialog',
) {
    const id = useId()
    const isNeeded = ref(false)
    const element = computed(() => (button.value?.$el as HTMLElement | undefined) ?? null)

    function load(): void {
        isNeeded.value = true
    }

    function toggle(): void {
        load()
        open.value = !open.value
    }

    const attributes = computed(() => ({
        id,
        'aria-haspopup': opens,
        'aria-expanded': open.value,
        'data-state': open.value ? 'open' : 'closed',
        onPointerenter: load,
        onFocus: load,
        onClick: toggle,
    }))

    return { attributes, element, isNeeded, toggle }
}
