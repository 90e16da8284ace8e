// Files of the build. A page needs a few larger ones instead of dozens of small ones, each with its own headers.

/** Texts that are always needed together. */
const CHAT_TEXTS = /\/locales\/(\w+)\/(?:chat|composer|sidebar|markdown)\.json/

/** Frame of the pages with a login, and small parts that they share. */
const FRAME = [
    /\/(Badge|DashboardGroup|DashboardSidebar|ErrorNotice|Kbd|Progress|Skeleton|UserMenu)\.vue/,
    /\/(download|invisible|useErrorToast|useLimits|useSidebarMenu|stores\/quota|generated\/chat\/sdk\.gen)\.ts/,
]

/** Each chunk has the modules that match, and what they import, unless a chunk above it has that. */
export const chunks = [
    { name: 'base', tags: ['$initial' as const] },
    { name: (id: string) => CHAT_TEXTS.exec(id)?.[1]?.concat('-chat') ?? null, debugName: 'texts' },
    { name: 'forms', test: /\/(FormField|Input|RequestForm|SelectField)\.vue/ },
    { name: 'frame', test: (id: string) => FRAME.some((part) => part.test(id)) },
    // For the list of messages and for tables.
    { name: 'scrolling', test: /\/@tanstack\/(vue-)?virtual/ },
    { name: 'chat', test: /\/pages\/chat\/\w+\.vue/ },
    { name: 'messages', test: /\/chat\/(MessageList|AnswerActions)\.vue/ },
    { name: 'markdown', test: /\/markdown\/view\.ts/ },
    // What other pages share.
    { name: 'shared', minShareCount: 2, entriesAware: true, entriesAwareMergeThreshold: 10_000 },
].map((chunk, index, all) => ({ ...chunk, priority: all.length - index }))
