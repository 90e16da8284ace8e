"""Export of the data of an account, read in batches.

Every column of every table is in a section or, with a reason, in `EXCLUDED_COLUMNS` of `unexported_columns`. A test
compares both with the tables.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.database.base import Base
from app.database.models import (
    AuditEntry,
    ChatMessage,
    ChatSession,
    ChatShare,
    ChatSummary,
    IdempotencyKey,
    MessageFeedback,
    User,
)
from app.database.repositories.accounts.addresses import invitation_has_email, mail_has_recipient


@dataclass(frozen=True, slots=True)
class ExportOwner:
    """The account whose data is exported."""

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
    """Columns that order the rows uniquely, for keyset pagination."""
    batch: int = 1000
    """Number of rows per batch; smaller where rows may be large."""


@dataclass(frozen=True, slots=True)
class RowPosition:
    """Position of a row in the order of its section."""

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
        "title_source",
        "metadata",
        "model",
        "is_active",
        "is_pinned",
        "tags",
        "message_count",
        "last_message_preview",
        "last_message_at",
        "active_seq",
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
    "depth",
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
        lambda owner: mail_has_recipient(owner.email),
    ),
    ExportSection(
        "invitations",
        ("uuid", "email", "full_name", "role", "created_at", "expires_at"),
        lambda owner: invitation_has_email(owner.email),
    ),
    ExportSection(
        "chat_summaries",
        ("depth", "content", "created_at"),
        lambda owner: ChatSummary.session_id.in_(select(ChatSession.id).where(ChatSession.user_id == owner.id)),
        order=("message_id",),
        batch=100,
    ),
    ExportSection(
        "idempotency_keys",
        ("route", "key", "turn_id", "status_code", "response", "created_at", "expires_at"),
        _of_user("idempotency_keys"),
        batch=100,
    ),
    ExportSection(
        "chat_imports",
        ("uuid", "format", "status", "session_count", "done_count", "report", "created_at", "updated_at"),
        _of_user("chat_imports"),
        batch=10,
    ),
    ExportSection(
        "llm_calls",
        (
            "turn_id",
            "attempt",
            "provider",
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
        order=("created_at", "id"),  # the order of the index
    ),
    ExportSection(
        "message_feedback",
        ("message_id", "model", "rating", "reasons", "comment", "created_at", "updated_at"),
        _of_user("message_feedback"),
        order=("message_id",),
        batch=100,
    ),
    ExportSection(
        "chat_shares",
        (
            "uuid",
            "session_id",
            "title",
            "messages",
            "message_count",
            "includes_models",
            "expires_at",
            "created_at",
        ),
        _of_user("chat_shares"),
        batch=5,
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


def messages_section(session_id: int) -> ExportSection:
    """Return the section with the messages of a session of the owner."""
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


async def read_rows(
    connection: AsyncConnection, section: ExportSection, owner: ExportOwner, after: RowPosition | None = None
) -> list[tuple[RowPosition, dict[str, Any]]]:
    """Return the next rows of a section, each with its position. The last batch has fewer rows than `section.batch`."""
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
        (
            RowPosition(tuple(row[: len(order)])),
            dict(zip(map(_export_name, section.columns), row[len(order) :], strict=True)),
        )
        for row in rows
    ]


async def find_owner(connection: AsyncConnection, user_id: int) -> ExportOwner | None:
    """Return the ids of an account. None: it was erased."""
    row = (await connection.execute(select(User.id, User.uuid, User.email).where(User.id == user_id))).one_or_none()
    return ExportOwner(*row) if row else None


def _export_name(column: str) -> str:
    return "id" if column == "uuid" else column


def _value(owner: ExportOwner, table: str, column: str) -> ColumnElement[Any]:
    match table, column:
        case "chat_messages", "parent_id":
            parent = aliased(ChatMessage)
            return select(parent.uuid).where(parent.id == ChatMessage.parent_id).scalar_subquery()
        case "message_feedback", "message_id":
            return select(ChatMessage.uuid).where(ChatMessage.id == MessageFeedback.message_id).scalar_subquery()
        case "chat_shares", "session_id":
            return select(ChatSession.uuid).where(ChatSession.id == ChatShare.session_id).scalar_subquery()
        case "idempotency_keys", "response":
            return func.convert_from(IdempotencyKey.response, "UTF8")
        case "audit_log", "ip" | "request_id":
            # The address of an admin who changed the account is personal data of the admin.
            is_own = or_(AuditEntry.actor_id.is_(None), AuditEntry.actor_id == owner.uuid)
            return case((is_own, Base.metadata.tables[table].c[column]))
        case _:
            return Base.metadata.tables[table].c[column]
