// Routes of the chat and of shared conversations.

import type { RouteRecordRaw } from 'vue-router'

/** A conversation needs its list of messages at once, a new chat only after the first question. */
function loadChat() {
    void import('@/components/chat/MessageList.vue').catch(() => undefined)
    return import('@/pages/chat/ChatPage.vue')
}

export const chatRoutes: RouteRecordRaw[] = [
    {
        path: '/',
        component: () => import('@/pages/chat/ChatLayout.vue'),
        meta: { access: 'user', areas: ['chat', 'composer', 'sidebar', 'markdown'] },
        children: [
            { path: '', name: 'new-chat', component: () => import('@/pages/chat/ChatPage.vue') },
            { path: 'c/:sessionId', name: 'chat', component: loadChat, props: true },
        ],
    },
    {
        path: '/shared',
        name: 'shared',
        component: () => import('@/pages/shared/SharedPage.vue'),
        meta: { areas: ['sidebar', 'markdown'], title: 'sidebar.shared.title' },
    },
]
