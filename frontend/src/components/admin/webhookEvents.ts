// Events that webhook endpoints can subscribe to, in the order of the service.

import type { WebhookCreate } from '@/api/generated/admin'

export const EVERY_EVENT = '*'

export type WebhookEvent = Exclude<WebhookCreate['events'][number], typeof EVERY_EVENT>

export const WEBHOOK_EVENTS = [
    'feedback.changed',
    'quota.exceeded',
    'session.created',
    'session.deleted',
    'session.updated',
    'turn.cancelled',
    'turn.completed',
    'turn.failed',
    'turn.interrupted',
    'user.erased',
    'user.registered',
    'user.updated',
] as const satisfies readonly WebhookEvent[]
