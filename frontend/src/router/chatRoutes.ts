// Routes of the chat and of shared conversations.

import type { RouteRecordRaw } from 'vue-router'

export const chatRoutes: RouteRecordRaw[] = [
    {
        path: '/',
        component: () => import('@/pages/chat/ChatLayout.vue'),
        meta: { access: 'user', areas: ['chat', 'composer', 'sidebar', 'markdown'] },
        children: [
            { path: '', name: 'new-chat', component: () => import('@/pages/chat/ChatPage.vue') },
            { path: 'c/:sessionId', name: 'chat', component: () => import('@/pages/chat/ChatPage.vue'), props: true },
        ],
    },
    {
        path: '/shared',
        name: 'shared',
        component: () => import('@/pages/shared/SharedPage.vue'),
        meta: { areas: ['sidebar', 'markdown'], title: 'sidebar.shared.title' },
    },
]
