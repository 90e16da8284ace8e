// Actions of the audit log, in the order of the service.

import type { SearchAuditLogData } from '@/api/generated/admin'

type AuditAction = NonNullable<NonNullable<SearchAuditLogData['query']>['action']>

export const AUDIT_ACTIONS = [
    'account.erased',
    'account.exported',
    'admin.access',
    'audit.exported',
    'api_key.created',
    'api_key.deleted',
    'email.verified',
    'invitation.created',
    'invitation.deleted',
    'login.all_ended',
    'login.ended',
    'login.failed',
    'login.locked',
    'login.opened',
    'login.replayed',
    'password.changed',
    'password.confirmation',
    'password.reset',
    'password.reset_requested',
    'profile.updated',
    'session.deleted',
    'session.read',
    'share.copied',
    'share.created',
    'share.deleted',
    'turn.stopped',
    'user.quota_changed',
    'user.registered',
    'user.updated',
    'webhook.created',
    'webhook.deleted',
    'webhook.disabled',
    'webhook.redelivered',
    'webhook.secret_rotated',
    'webhook.tested',
    'webhook.updated',
] as const satisfies readonly AuditAction[]
