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
        ],
    },
]
