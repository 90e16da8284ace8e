"""Sessions of all users, for admins. Only `load_content` reads what users and models have written."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, false, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.models import ChatMessage, ChatSession, ChatSummary, MessageFeedback, User
from app.database.repositories.turns.turn_sql import IS_ACTIVE, LEAF_SEQ


class SessionOverview(NamedTuple):
    """Metadata of a session."""

    id: int
    uuid: UUID
    owner_id: int
    owner_uuid: UUID
    is_active: bool
    message_count: int
    created_at: datetime
    updated_at: datetime
    last_message_at: datetime | None
    active_answer_uuid: UUID | None
    """Public id of the answer that is being generated."""


class MessageOverview(NamedTuple):
    """A message without its text."""

    id: UUID
    """Public id; so is `parent_id`."""
    parent_id: UUID | None
    role: str
    status: str
    created_at: datetime
    updated_at: datetime
    tokens_used: int
    processing_time_ms: int
    model: str | None
    error: str | None
    cost_usd: str | None
    is_on_active_branch: bool


class FeedbackContent(NamedTuple):
    """Feedback of the owner on an answer."""

    rating: str
    reasons: list[str]
    comment: str | None


class MessageContent(NamedTuple):
    """A message with its text."""

    id: UUID
    """Public id."""
    role: str
    status: str
    timestamp: datetime
    content: str
    metadata: dict[str, Any]
    feedback: FeedbackContent | None


class SessionContent(NamedTuple):
    """Texts of a session."""

    title: str
    meta: dict[str, Any]
    summary: str | None
    messages: list[MessageContent]
    """Oldest first."""


_active = aliased(ChatMessage)
_is_active = _active.status.in_([literal_column("'pending'"), literal_column("'streaming'")])
_OVERVIEW: Select[*tuple[Any, ...]] = (
    select(
        ChatSession.id,
        ChatSession.uuid,
        User.id,
        User.uuid,
        ChatSession.is_active,
        ChatSession.message_count,
        ChatSession.created_at,
        ChatSession.updated_at,
        ChatSession.last_message_at,
        _active.uuid,
    )
    .join(User, ChatSession.user_id == User.id)
    .outerjoin(_active, and_(_active.session_id == ChatSession.id, _is_active))
)
_IS_ANSWER = ChatMessage.role == literal_column("'assistant'")
_SESSION_TEXTS: Select[*tuple[Any, ...]] = select(
    ChatSession.title,
    ChatSession.meta,
    select(ChatSummary.content)
    .where(ChatSummary.session_id == ChatSession.id)
    .order_by(ChatSummary.created_at.desc())
    .limit(1)
    .scalar_subquery()
    .label("summary"),
)


async def list_page(  # noqa: PLR0913 - search criteria
    session: AsyncSession,
    *,
    page: int,
    size: int,
    owner: UUID | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    is_archived: bool | None = None,
    is_running: bool | None = None,
) -> tuple[list[SessionOverview], int]:
    """Return a page of sessions, newest first, and the total number. Two statements.

    `start` (inclusive) and `end` (exclusive) limit the time of creation. `is_running`: with or without an active turn.
    """
    matching = select(ChatSession.id)
    if owner is not None:
        matching = matching.where(ChatSession.user_id == select(User.id).where(User.uuid == owner).scalar_subquery())
    if start is not None:
        matching = matching.where(ChatSession.created_at >= start)
    if end is not None:
        matching = matching.where(ChatSession.created_at < end)
    if is_archived is not None:
        matching = matching.where(ChatSession.is_active.is_not(is_archived))
    if is_running is not None:
        with_active_turn = select(ChatMessage.session_id).where(IS_ACTIVE)
        matching = matching.where(
            ChatSession.id.in_(with_active_turn) if is_running else ChatSession.id.not_in(with_active_turn)
        )
    total = await session.scalar(select(func.count()).select_from(matching.subquery()))
    page_ids = matching.order_by(ChatSession.id.desc()).offset((page - 1) * size).limit(size).subquery()
    rows = await session.execute(
        _OVERVIEW.join(page_ids, page_ids.c.id == ChatSession.id).order_by(ChatSession.id.desc())
    )
    return [SessionOverview(*row) for row in rows], total or 0


async def find(session: AsyncSession, session_uuid: UUID) -> SessionOverview | None:
    """Return a session of any user by its public id."""
    row = (await session.execute(_OVERVIEW.where(ChatSession.uuid == session_uuid))).one_or_none()
    return SessionOverview(*row) if row else None


async def list_messages(
    session: AsyncSession, session_id: int, *, before: UUID | None, limit: int
) -> list[MessageOverview]:
    """Return the newest messages of all branches, or those before one, without their texts, oldest first."""
    parent, leaf = aliased(ChatMessage), aliased(ChatMessage)
    active_leaf = (
        select(leaf.id)
        .join(ChatSession, ChatSession.id == leaf.session_id)
        .where(ChatSession.id == session_id, leaf.seq == LEAF_SEQ)
        .scalar_subquery()
    )
    rows = await session.execute(
        select(
            ChatMessage.uuid,
            parent.uuid,
            ChatMessage.role,
            ChatMessage.status,
            ChatMessage.created_at,
            ChatMessage.updated_at,
            ChatMessage.tokens_used,
            ChatMessage.processing_time_ms,
            # The metadata of questions is set by the user, regardless of its keys.
            *(case((_IS_ANSWER, ChatMessage.meta[name].astext)) for name in ("model_used", "error", "cost_usd")),
            func.coalesce(func.chat_message_ancestor(active_leaf, ChatMessage.depth) == ChatMessage.id, false()),
        )
        .outerjoin(parent, ChatMessage.parent_id == parent.id)
        .where(ChatMessage.session_id == session_id, *_is_before(session_id, before))
        .order_by(ChatMessage.seq.desc())
        .limit(limit)
    )
    return [MessageOverview(*row) for row in reversed(rows.all())]


async def get_message_status(session: AsyncSession, session_id: int, message_uuid: UUID) -> str | None:
    """Return the status of an answer in a session. None: there is no such answer."""
    status: str | None = await session.scalar(
        select(ChatMessage.status).where(
            ChatMessage.session_id == session_id, ChatMessage.uuid == message_uuid, ChatMessage.role == "assistant"
        )
    )
    return status


async def load_content(
    session: AsyncSession, session_id: int, *, before: UUID | None, limit: int
) -> SessionContent | None:
    """Return the texts of a session, with its newest messages, or those before one. None: the session was deleted."""
    session_row = (await session.execute(_SESSION_TEXTS.where(ChatSession.id == session_id))).one_or_none()
    if session_row is None:
        return None
    messages = (await session.execute(_message_texts(session_id, before).limit(limit))).all()
    return SessionContent(
        session_row.title,
        session_row.meta,
        session_row.summary,
        [
            MessageContent(
                id=row.uuid,
                role=row.role,
                status=row.status,
                timestamp=row.updated_at,
                content=row.content,
                metadata=row.meta,
                feedback=None if row.rating is None else FeedbackContent(row.rating, row.reasons, row.comment),
            )
            for row in reversed(messages)
        ],
    )


def _message_texts(session_id: int, before: UUID | None) -> Select[*tuple[Any, ...]]:
    return (
        select(
            ChatMessage.uuid,
            ChatMessage.role,
            ChatMessage.status,
            ChatMessage.updated_at,
            ChatMessage.content,
            ChatMessage.meta,
            MessageFeedback.rating,
            MessageFeedback.reasons,
            MessageFeedback.comment,
        )
        .outerjoin(MessageFeedback, MessageFeedback.message_id == ChatMessage.id)
        .where(ChatMessage.session_id == session_id, *_is_before(session_id, before))
        .order_by(ChatMessage.seq.desc())
    )


def _is_before(session_id: int, before: UUID | None) -> list[ColumnElement[bool]]:
    if before is None:
        return []
    message = aliased(ChatMessage)
    seq = select(message.seq).where(message.session_id == session_id, message.uuid == before).scalar_subquery()
    return [ChatMessage.seq < seq]
