// Questions of a page before actions, shown one at a time in a ConfirmDialog.

import { ref, shallowRef } from 'vue'

export interface Question {
    title: string
    text: string
    confirmLabel: string
    action: () => Promise<unknown>
    danger?: boolean
    phrase?: string
}

export function useConfirm() {
    const question = shallowRef<Question | null>(null)
    const isOpen = ref(false)

    function ask(asked: Question): void {
        question.value = asked
        isOpen.value = true
    }

    return { question, isOpen, ask }
}
