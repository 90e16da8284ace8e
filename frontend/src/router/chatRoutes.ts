import type { RouteRecordRaw } from 'vue-router'

export const chatRoutes: RouteRecordRaw[] = [
    {
        path: '/',
        component: () => import('@/pages/chat/ChatLayout.vue'),
        meta: { access: 'user', areas: ['chat', 'composer', 'markdown'] },
        children: [
            { path: '', name: 'new-chat', component: () => import('@/pages/chat/ChatPage.vue') },
            { path: 'c/:sessionId', name: 'chat', component: () => import('@/pages/chat/ChatPage.vue'), props: true },
        ],
    },
]
