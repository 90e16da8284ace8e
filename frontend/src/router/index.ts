// Routes of the application. The code of a page is loaded when it is opened.

import { createRouter, createWebHistory, type RouteLocationNormalized } from 'vue-router'
import { loadArea, type Area } from '@/locales'
import { hasLogin } from '@/api/tokens'
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
    if (mayOpen(to)) preload(to)
    const decision = checkAccess(to)
    // The texts of administration are for admins only; others are loaded while the access is checked.
    if (to.meta.access === 'admin' && (await decision) !== true) return decision
    await Promise.all([decision, ...(to.meta.areas ?? []).map((area) => loadArea(area))])
    return decision
})

/** Return whether the page will probably be opened, as far as is known without a request. */
function mayOpen(to: RouteLocationNormalized): boolean {
    const { access } = to.meta
    if (access === undefined) return true
    if (access === 'admin') return useAccount().isAdmin
    return hasLogin() === (access !== 'guest')
}

/** Load the code of a page while its texts and the account are loaded. The router reports failures when it opens it. */
function preload({ matched }: RouteLocationNormalized): void {
    for (const { components } of matched)
        for (const load of Object.values(components ?? {}) as (() => Promise<unknown>)[])
            if (typeof load === 'function') load().catch(() => undefined)
}

/** Return true, or the page to open instead. */
async function checkAccess(to: RouteLocationNormalized) {
    const { access } = to.meta
    if (access === undefined) return true
    const account = useAccount()
    await account.restore()
    if (access === 'guest') return account.user === null || { name: 'new-chat' }
    if (account.user === null) return { name: 'login', query: to.fullPath === '/' ? {} : { next: to.fullPath } }
    // Does not reveal that the page exists.
    if (access === 'admin' && !account.isAdmin)
        return { name: 'not-found', params: { path: to.path.slice(1).split('/') }, query: to.query, hash: to.hash }
    return true
}
