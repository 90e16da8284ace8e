"""Audit log: insertion of entries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import AuditEntry

AuditAction = Literal[
    "account.erased",
    "account.exported",
    "admin.access",
    "audit.exported",
    "api_key.created",
    "api_key.deleted",
    "email.verified",
    "invitation.created",
    "invitation.deleted",
    "login.all_ended",
    "login.ended",
    "login.failed",
    "login.locked",
    "login.opened",
    "login.replayed",
    "password.changed",
    "password.confirmation",
    "password.reset",
    "password.reset_requested",
    "profile.updated",
    "session.deleted",
    "session.read",
    "share.copied",
    "share.created",
    "share.deleted",
    "turn.stopped",
    "user.quota_changed",
    "user.registered",
    "user.updated",
    "webhook.created",
    "webhook.deleted",
    "webhook.disabled",
    "webhook.redelivered",
    "webhook.secret_rotated",
    "webhook.tested",
    "webhook.updated",
]
"""Recorded actions. docs/reference/audit-actions.md describes them."""
AuditOutcome = Literal["done", "refused"]


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """Client address, user agent and id of a request."""

    ip: str | None
    user_agent: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class NewAuditEntry:
    """An entry to insert.

    `details` must not contain personal data, which erasure could not remove: it names such fields without their values.
    """

    action: AuditAction
    actor: UUID | None = None
    """Public id of the acting account. None: the caller is not authenticated."""
    target: UUID | None = None
    """Public id of the object of the action, such as an account, a login or an API key."""
    outcome: AuditOutcome = "done"
    details: Mapping[str, Any] | None = None


async def record(connection: AsyncSession | AsyncConnection, entry: NewAuditEntry, origin: RequestOrigin) -> None:
    """Insert an entry, in the transaction of the action. An entry about a refusal needs its own transaction."""
    await connection.execute(
        insert(AuditEntry).values(
            action=entry.action,
            actor_id=entry.actor,
            target_id=entry.target,
            outcome=entry.outcome,
            details=dict(entry.details or {}),
            ip=origin.ip,
            request_id=origin.request_id,
        )
    )
