"""What is held about an account, in batches small enough to be read one at a time.

Every column of every table is in a section here or in `EXCLUDED_COLUMNS` with a reason; a test compares them with the
tables.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.database.base import Base
from app.database.models import AuditEntry, ChatMessage, ChatSession, IdempotencyKey, OutgoingMail, User

EXCLUDED_COLUMNS: Mapping[str, str] = {
    "*.id": "internal key; what clients see is the public one",
    "*.user_id": "internal key of the account itself",
    "*.token_hash": "secret",
    "*.lease_expires_at": "internal state of an answer under way",
    "users.password_hash": "secret",
    "auth_sessions.previous_token_hash": "secret",
    "chat_sessions.last_seq": "internal counter",
    "chat_sessions.summary_lease_expires_at": "internal state of a summary under way",
    "chat_messages.cancel_requested_at": "internal state of an answer under way",
    "chat_messages.session_id": "messages stand in their session",
    "idempotency_keys.session_id": "internal key; `turn_id` names the answer",
    "idempotency_keys.fingerprint": "hash of a request",
    "llm_calls.session_id": "internal key; `turn_id` names the answer",
    "usage_pending.*": "internal state of sums over `llm_calls`",
    "usage_repair.*": "internal state of sums over `llm_calls`",
    "usage_quarters.*": "sums over everybody",
    "latency_quarters.*": "sums over everybody",
    "error_quarters.*": "sums over everybody",
    "user_usage_quarters.*": "sums over `llm_calls`",
    "user_usage_days.*": "sums over `llm_calls`",
    "user_usage_weeks.*": "sums over `llm_calls`",
    "quota_reservations.*": "what answers under way may still use, for some minutes",
    "service_instances.*": "about processes, not about people",
    "worker_jobs.*": "about processes, not about people",
    "login_throttles.*": "counts of tries for some minutes, under hashed names",
    "webhook_endpoints.*": "the operator's own systems",
    "webhook_deliveries.endpoint_id": "internal key of one of the operator's own systems",
    "webhook_deliveries.earlier_attempts": "internal state of a delivery",
    "webhook_deliveries.next_attempt_at": "internal state of a delivery",
    "webhook_deliveries.response_status": "of one of the operator's own systems",
    "webhook_deliveries.error_code": "of one of the operator's own systems",
    "webhook_deliveries.log": "of one of the operator's own systems",
}
"""`table.column`, `*` for any, and why it is not exported."""


@dataclass(frozen=True, slots=True)
class ExportOwner:
    """Whose data are exported."""

    id: int
    uuid: UUID
    email: str


@dataclass(frozen=True, slots=True)
class ExportSection:
    """The rows of one table that belong to an account."""

    table: str
    columns: tuple[str, ...]
    belongs_to: Callable[[ExportOwner], ColumnElement[bool]]
    order: tuple[str, ...] = ("id",)
    """Unique; a batch begins after the last of the batch before."""
    batch: int = 1000
    """Rows read at once: few where a row may be long."""


@dataclass(frozen=True, slots=True)
class RowPosition:
    """Where a row stands in the order of its section."""

    values: tuple[Any, ...]


def _of_user(table: str) -> Callable[[ExportOwner], ColumnElement[bool]]:
    return lambda owner: Base.metadata.tables[table].c.user_id == owner.id


ACCOUNT = ExportSection(
    "users",
    (
        "uuid",
        "email",
        "username",
        "requested_username",
        "full_name",
        "role",
        "is_active",
        "is_verified",
        "last_login",
        "preferences",
        "quota_tokens_per_day",
        "quota_tokens_per_month",
        "quota_cost_per_day",
        "quota_cost_per_month",
        "created_at",
        "updated_at",
    ),
    lambda owner: User.id == owner.id,
)
SESSIONS = ExportSection(
    "chat_sessions",
    (
        "uuid",
        "title",
        "metadata",
        "is_active",
        "message_count",
        "last_message_preview",
        "last_message_at",
        "summary",
        "summary_upto_seq",
        "created_at",
        "updated_at",
    ),
    _of_user("chat_sessions"),
    batch=100,
)
MESSAGE_COLUMNS = (
    "uuid",
    "seq",
    "parent_id",
    "role",
    "content",
    "status",
    "metadata",
    "tokens_used",
    "processing_time_ms",
    "created_at",
    "updated_at",
)
SECTIONS = (
    ExportSection(
        "auth_sessions",
        ("uuid", "created_at", "rotated_at", "expires_at", "revoked_at", "revoked_reason", "user_agent", "ip"),
        _of_user("auth_sessions"),
    ),
    ExportSection(
        "api_keys",
        ("uuid", "name", "prefix", "scopes", "created_at", "expires_at", "last_used_at"),
        _of_user("api_keys"),
    ),
    ExportSection("one_time_tokens", ("purpose", "created_at", "expires_at"), _of_user("one_time_tokens")),
    ExportSection(
        "outgoing_mails",
        ("kind", "recipient", "attempts", "next_attempt_at", "created_at"),
        lambda owner: func.lower(OutgoingMail.recipient) == func.lower(owner.email),
    ),
    ExportSection(
        "idempotency_keys",
        ("route", "key", "turn_id", "status_code", "response", "created_at", "expires_at"),
        _of_user("idempotency_keys"),
        batch=100,
    ),
    ExportSection(
        "llm_calls",
        (
            "turn_id",
            "attempt",
            "model_requested",
            "model_used",
            "is_fallback",
            "status",
            "error_code",
            "prompt_tokens",
            "completion_tokens",
            "is_estimated",
            "cost_usd",
            "latency_ms",
            "first_token_ms",
            "is_cached",
            "purpose",
            "fallback_reason",
            "created_at",
        ),
        _of_user("llm_calls"),
        order=("created_at", "id"),  # as the index has them
    ),
    ExportSection(
        "webhook_deliveries",
        ("event_id", "type", "data", "status", "attempts", "created_at"),
        _of_user("webhook_deliveries"),
    ),
    ExportSection(
        "audit_log",
        ("created_at", "action", "outcome", "actor_id", "target_id", "ip", "request_id", "details"),
        lambda owner: or_(AuditEntry.actor_id == owner.uuid, AuditEntry.target_id == owner.uuid),
    ),
)


def messages_of(session_id: int) -> ExportSection:
    """Return the section of the messages of one of the owner's sessions."""
    return ExportSection(
        "chat_messages",
        MESSAGE_COLUMNS,
        lambda owner: (
            (ChatMessage.session_id == session_id)
            & select(ChatSession.id).where(ChatSession.id == session_id, ChatSession.user_id == owner.id).exists()
        ),
        order=("seq",),
        batch=100,
    )


async def read(
    connection: AsyncConnection, section: ExportSection, owner: ExportOwner, after: RowPosition | None = None
) -> list[tuple[RowPosition, dict[str, Any]]]:
    """Return the next rows of a section, each with its position. None are left when fewer than `section.batch` come."""
    table = Base.metadata.tables[section.table]
    order = [table.c[name] for name in section.order]
    statement = (
        select(*order, *(_value(owner, section.table, name) for name in section.columns))
        .where(section.belongs_to(owner))
        .order_by(*order)
        .limit(section.batch)
    )
    if after is not None:
        statement = statement.where(tuple_(*order) > tuple_(*map(literal, after.values)))
    rows = await connection.execute(statement)
    return [
        (RowPosition(tuple(row[: len(order)])), dict(zip(map(_shown, section.columns), row[len(order) :], strict=True)))
        for row in rows
    ]


async def find_owner(connection: AsyncConnection, user_id: int) -> ExportOwner | None:
    """Return what tells the account's rows. None: it has been erased."""
    row = (await connection.execute(select(User.id, User.uuid, User.email).where(User.id == user_id))).one_or_none()
    return ExportOwner(*row) if row else None


def _shown(column: str) -> str:
    return "id" if column == "uuid" else column


def _value(owner: ExportOwner, table: str, column: str) -> ColumnElement[Any]:
    match table, column:
        case "chat_messages", "parent_id":
            parent = aliased(ChatMessage)
            return select(parent.uuid).where(parent.id == ChatMessage.parent_id).scalar_subquery()
        case "idempotency_keys", "response":
            return func.convert_from(IdempotencyKey.response, "UTF8")
        case "audit_log", "ip" | "request_id":
            # An admin who changed the account is somebody else: where they sat is theirs.
            is_own = or_(AuditEntry.actor_id.is_(None), AuditEntry.actor_id == owner.uuid)
            return case((is_own, Base.metadata.tables[table].c[column]))
        case _:
            return Base.metadata.tables[table].c[column]
