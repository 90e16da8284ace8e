"""The audit log: who did what to whom, when, from where."""

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
    "login.all_ended",
    "login.ended",
    "login.failed",
    "login.locked",
    "login.opened",
    "login.replayed",
    "password.changed",
    "password.confirmation",
    "password.reset",
    "profile.updated",
    "session.deleted",
    "session.read",
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
"""What entries are about. Each is explained in docs/operations.md."""
AuditOutcome = Literal["done", "refused"]


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """Where a request comes from."""

    ip: str | None
    user_agent: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class NewAuditEntry:
    """What to note.

    `details` must not hold what erasing an account has to remove: name such fields, do not repeat their values.
    """

    action: AuditAction
    actor: UUID | None = None
    """Public id of the account that acts; None: nobody is logged in."""
    target: UUID | None = None
    """Public id of the account, login or key that it is done to."""
    outcome: AuditOutcome = "done"
    details: Mapping[str, Any] | None = None


async def record(connection: AsyncSession | AsyncConnection, entry: NewAuditEntry, origin: RequestOrigin) -> None:
    """Append an entry: in the transaction of the action, or, of a refusal, in one of its own."""
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
