// The icons' library without what loads icons from a server.

import { addIcon as addOfflineIcon, type IconifyIcon } from '@iconify/vue/offline'

export { Icon, addCollection } from '@iconify/vue/offline'

/** Add an icon. The build names it `lucide:check`; components ask for `lucide-check`. */
export function addIcon(name: string, icon: IconifyIcon): void {
    addOfflineIcon(name, icon)
    addOfflineIcon(name.replace(':', '-'), icon)
}

/** Return whether an icon is there, as all icons of the application are. */
export const iconLoaded = () => true
