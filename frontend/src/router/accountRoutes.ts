// Routes of the pages of the user's own account.

import type { RouteRecordRaw } from 'vue-router'

export const accountRoutes: RouteRecordRaw[] = [
    {
        path: '/account',
        component: () => import('@/pages/account/AccountLayout.vue'),
        meta: { access: 'user', areas: ['auth', 'account'] },
        children: [
            {
                path: '',
                name: 'account',
                component: () => import('@/pages/account/ProfilePage.vue'),
                meta: { title: 'account.profile.title' },
            },
            {
                path: 'preferences',
                name: 'account-preferences',
                component: () => import('@/pages/account/PreferencesPage.vue'),
                meta: { title: 'account.preferences.title' },
            },
            {
                path: 'security',
                name: 'account-security',
                component: () => import('@/pages/account/SecurityPage.vue'),
                meta: { title: 'account.security.title' },
            },
            {
                path: 'api-keys',
                name: 'account-api-keys',
                component: () => import('@/pages/account/ApiKeysPage.vue'),
                meta: { title: 'account.apiKeys.title' },
            },
            {
                path: 'usage',
                name: 'account-usage',
                component: () => import('@/pages/account/UsagePage.vue'),
                meta: { title: 'account.usage.title' },
            },
            {
                path: 'data',
                name: 'account-data',
                component: () => import('@/pages/account/DataPage.vue'),
                meta: { title: 'account.data.title' },
            },
        ],
    },
]
