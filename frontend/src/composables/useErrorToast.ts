// Message about an action that failed, which disappears by itself.

import { useToast } from '@nuxt/ui/composables'
import { useErrorText } from './useErrorText'

/** Return a function that shows an error; `title` says what failed. `area`: as for `useErrorText`. */
export function useErrorToast(area?: string): (error: unknown, title?: string) => void {
    const toast = useToast()
    const describe = useErrorText(area)

    return (error, title) => {
        const text = describe(error)
        toast.add({
            ...(title === undefined ? { title: text } : { title, description: text }),
            color: 'error',
            icon: 'i-lucide-circle-alert',
        })
    }
}
