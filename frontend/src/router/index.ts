// Routes of the application. Pages are loaded when they are opened; those of admins only after a login as admin.

import { createRouter, createWebHistory, type RouteLocationNormalized } from 'vue-router'
import { loadArea, type Area } from '@/locales'
import { useAccount } from '@/stores/account'
import { accountRoutes } from './accountRoutes'
import { adminRoutes } from './adminRoutes'
import { authRoutes } from './authRoutes'
import { chatRoutes } from './chatRoutes'

declare module 'vue-router' {
    interface RouteMeta {
        /** Who may open the page. Default: everybody. `guest`: those who are logged in go to the chat instead. */
        access?: 'user' | 'admin' | 'guest'
        /** Texts that the page needs besides `common`. */
        areas?: Area[]
        /** Key of the title of the page. */
        title?: string
    }
}

export const router = createRouter({
    history: createWebHistory(),
    routes: [
        ...chatRoutes,
        ...authRoutes,
        ...accountRoutes,
        ...adminRoutes,
        {
            path: '/:path(.*)*',
            name: 'not-found',
            component: () => import('@/pages/NotFoundPage.vue'),
            meta: { title: 'common.notFound.title' },
        },
    ],
})

router.beforeEach(async (to) => {
    const texts = () => Promise.all((to.meta.areas ?? []).map((area) => loadArea(area)))
    // Texts of administration are not loaded for others.
    const [decision] = await Promise.all([checkAccess(to), to.meta.access === 'admin' ? undefined : texts()])
    if (to.meta.access === 'admin' && decision === true) await texts()
    return decision
})

/** Return true, or the page to open instead. */
async function checkAccess(to: RouteLocationNormalized) {
    const { access } = to.meta
    if (access === undefined) return true
    const account = useAccount()
    await account.restore()
    if (access === 'guest') return account.user === null || { name: 'new-chat' }
    if (account.user === null) return { name: 'login', query: to.fullPath === '/' ? {} : { next: to.fullPath } }
    // Does not tell that the page exists.
    if (access === 'admin' && !account.isAdmin)
        return { name: 'not-found', params: { path: to.path.slice(1).split('/') }, query: to.query, hash: to.hash }
    return true
}
