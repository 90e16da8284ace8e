// Routes of administration.

import type { RouteRecordRaw } from 'vue-router'

const analyticsRoutes: RouteRecordRaw[] = [
    {
        path: 'usage',
        name: 'admin-usage',
        component: () => import('@/pages/admin/analytics/UsagePage.vue'),
        meta: { title: 'admin.nav.usage' },
    },
    {
        path: 'latency',
        name: 'admin-latency',
        component: () => import('@/pages/admin/analytics/LatencyPage.vue'),
        meta: { title: 'admin.nav.latency' },
    },
    {
        path: 'errors',
        name: 'admin-errors',
        component: () => import('@/pages/admin/analytics/ErrorsPage.vue'),
        meta: { title: 'admin.nav.errors' },
    },
    {
        path: 'models',
        name: 'admin-models',
        component: () => import('@/pages/admin/analytics/ModelsPage.vue'),
        meta: { title: 'admin.nav.models' },
    },
    {
        path: 'users',
        name: 'admin-user-report',
        component: () => import('@/pages/admin/analytics/UserReportPage.vue'),
        meta: { title: 'admin.nav.userReport' },
    },
    {
        path: 'retention',
        name: 'admin-retention',
        component: () => import('@/pages/admin/analytics/RetentionPage.vue'),
        meta: { title: 'admin.nav.retention' },
    },
    {
        path: 'feedback',
        name: 'admin-feedback',
        component: () => import('@/pages/admin/analytics/FeedbackPage.vue'),
        meta: { title: 'admin.nav.feedback' },
    },
]

export const adminRoutes: RouteRecordRaw[] = [
    {
        path: '/admin',
        component: () => import('@/pages/admin/AdminLayout.vue'),
        meta: { access: 'admin', areas: ['admin'] },
        children: [
            {
                path: '',
                name: 'admin',
                component: () => import('@/pages/admin/OverviewPage.vue'),
                meta: { title: 'admin.nav.overview' },
            },
            { path: 'analytics', redirect: { name: 'admin-usage' }, children: analyticsRoutes },
            {
                path: 'users',
                name: 'admin-users',
                component: () => import('@/pages/admin/users/UsersPage.vue'),
                meta: { title: 'admin.nav.users' },
            },
            {
                path: 'users/:userId',
                name: 'admin-user',
                component: () => import('@/pages/admin/users/UserPage.vue'),
                props: true,
                meta: { title: 'admin.users.account' },
            },
            {
                path: 'sessions',
                name: 'admin-sessions',
                component: () => import('@/pages/admin/sessions/SessionsPage.vue'),
                meta: { title: 'admin.nav.sessions' },
            },
            {
                path: 'sessions/:sessionId',
                name: 'admin-session',
                component: () => import('@/pages/admin/sessions/SessionPage.vue'),
                props: true,
                meta: { title: 'admin.sessions.session' },
            },
            {
                path: 'shares',
                name: 'admin-shares',
                component: () => import('@/pages/admin/SharesPage.vue'),
                meta: { title: 'admin.nav.shares' },
            },
            {
                path: 'audit',
                name: 'admin-audit',
                component: () => import('@/pages/admin/AuditPage.vue'),
                meta: { title: 'admin.nav.audit' },
            },
            {
                path: 'webhooks',
                name: 'admin-webhooks',
                component: () => import('@/pages/admin/webhooks/WebhooksPage.vue'),
                meta: { title: 'admin.nav.webhooks' },
            },
            {
                path: 'webhooks/:webhookId',
                name: 'admin-webhook',
                component: () => import('@/pages/admin/webhooks/WebhookPage.vue'),
                props: true,
                meta: { title: 'admin.webhooks.endpoint' },
            },
            {
                path: 'system',
                name: 'admin-system',
                component: () => import('@/pages/admin/SystemPage.vue'),
                meta: { title: 'admin.nav.system' },
            },
        ],
    },
]
