// Routes of the pages without a login. Links in emails lead to some of them.

import type { RouteRecordRaw } from 'vue-router'

export const authRoutes: RouteRecordRaw[] = [
    {
        path: '/login',
        name: 'login',
        component: () => import('@/pages/auth/LoginPage.vue'),
        meta: { access: 'guest', areas: ['auth'], title: 'auth.login.title' },
    },
    {
        path: '/register',
        name: 'register',
        component: () => import('@/pages/auth/RegisterPage.vue'),
        meta: { areas: ['auth'], title: 'auth.register.title' },
    },
    {
        path: '/verify-email',
        name: 'verify-email',
        component: () => import('@/pages/auth/VerifyEmailPage.vue'),
        meta: { areas: ['auth'], title: 'auth.verify.title' },
    },
    {
        path: '/forgot-password',
        name: 'forgot-password',
        component: () => import('@/pages/auth/ForgotPasswordPage.vue'),
        meta: { access: 'guest', areas: ['auth'], title: 'auth.forgot.title' },
    },
    {
        path: '/reset-password',
        name: 'reset-password',
        component: () => import('@/pages/auth/ResetPasswordPage.vue'),
        meta: { areas: ['auth'], title: 'auth.reset.title' },
    },
    {
        path: '/account-erased',
        name: 'account-erased',
        component: () => import('@/pages/auth/AccountErasedPage.vue'),
        meta: { areas: ['auth'], title: 'auth.erased.title' },
    },
]
