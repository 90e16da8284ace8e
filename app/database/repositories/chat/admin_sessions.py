"""Sessions of everybody, for admins: how they are used, and nothing that anybody wrote, unless it is asked for."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, and_, case, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.models import ChatMessage, ChatSession, User
from app.database.repositories.chat.turn_fragments import IS_ACTIVE


class SessionOverview(NamedTuple):
    """A session as it is used."""

    id: int
    uuid: UUID
    owner_id: int
    owner_uuid: UUID
    is_active: bool
    message_count: int
    created_at: datetime
    updated_at: datetime
    last_message_at: datetime | None
    running: UUID | None
    """Public id of the answer that is being made."""


class MessageOverview(NamedTuple):
    """A message without its text."""

    id: UUID
    """Public, as that of the question."""
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


class MessageContent(NamedTuple):
    """What somebody, or a model, wrote."""

    id: UUID
    """Public."""
    role: str
    status: str
    timestamp: datetime
    content: str
    metadata: dict[str, Any]


class SessionContent(NamedTuple):
    """What was written in a session."""

    title: str
    meta: dict[str, Any]
    summary: str | None
    messages: list[MessageContent]
    """Oldest first."""


_running = aliased(ChatMessage)
_is_running = _running.status.in_([literal_column("'pending'"), literal_column("'streaming'")])
_CONVERSATION: Select[*tuple[Any, ...]] = (
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
        _running.uuid,
    )
    .join(User, ChatSession.user_id == User.id)
    .outerjoin(_running, and_(_running.session_id == ChatSession.id, _is_running))
)
_IS_ANSWER = ChatMessage.role == literal_column("'assistant'")
_HEAD: Select[*tuple[Any, ...]] = select(ChatSession.title, ChatSession.meta, ChatSession.summary)


async def list_page(  # noqa: PLR0913 - what may be looked for
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
    """Return a page of sessions, newest first, and how many there are. Two statements. They began from `start` on."""
    wanted = select(ChatSession.id)
    if owner is not None:
        wanted = wanted.where(ChatSession.user_id == select(User.id).where(User.uuid == owner).scalar_subquery())
    if start is not None:
        wanted = wanted.where(ChatSession.created_at >= start)
    if end is not None:
        wanted = wanted.where(ChatSession.created_at < end)
    if is_archived is not None:
        wanted = wanted.where(ChatSession.is_active.is_not(is_archived))
    if is_running is not None:
        running = select(ChatMessage.session_id).where(IS_ACTIVE)
        wanted = wanted.where(ChatSession.id.in_(running) if is_running else ChatSession.id.not_in(running))
    total = await session.scalar(select(func.count()).select_from(wanted.subquery()))
    some = wanted.order_by(ChatSession.id.desc()).offset((page - 1) * size).limit(size).subquery()
    rows = await session.execute(_CONVERSATION.join(some, some.c.id == ChatSession.id).order_by(ChatSession.id.desc()))
    return [SessionOverview(*row) for row in rows], total or 0


async def find(session: AsyncSession, session_uuid: UUID) -> SessionOverview | None:
    """Return any session by its public id."""
    row = (await session.execute(_CONVERSATION.where(ChatSession.uuid == session_uuid))).one_or_none()
    return SessionOverview(*row) if row else None


async def newest_messages(session: AsyncSession, session_id: int, *, limit: int) -> list[MessageOverview]:
    """Return the newest messages of a session, oldest first. Their text is not read."""
    parent = aliased(ChatMessage)
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
            # What a question's `metadata` holds is its owner's, whatever it is named.
            *(case((_IS_ANSWER, ChatMessage.meta[name].astext)) for name in ("model_used", "error", "cost_usd")),
        )
        .outerjoin(parent, ChatMessage.parent_id == parent.id)
        .where(ChatMessage.session_id == session_id)
        .order_by(ChatMessage.seq.desc())
        .limit(limit)
    )
    return [MessageOverview(*row) for row in reversed(rows.all())]


async def message_status(session: AsyncSession, session_id: int, message_uuid: UUID) -> str | None:
    """Return the status of an answer of a session. None: there is no such answer."""
    status: str | None = await session.scalar(
        select(ChatMessage.status).where(
            ChatMessage.session_id == session_id, ChatMessage.uuid == message_uuid, ChatMessage.role == "assistant"
        )
    )
    return status


async def read(session: AsyncSession, session_id: int, *, before: UUID | None, limit: int) -> SessionContent | None:
    """Return what was written in a session, with the newest messages, or those before one. None: it is gone."""
    head = (await session.execute(_HEAD.where(ChatSession.id == session_id))).one_or_none()
    if head is None:
        return None
    messages = (await session.execute(_texts(session_id, before).limit(limit))).all()
    return SessionContent(
        head.title, head.meta, head.summary, [MessageContent(*message) for message in reversed(messages)]
    )


def _texts(session_id: int, before: UUID | None) -> Select[*tuple[Any, ...]]:
    statement = (
        select(
            ChatMessage.uuid,
            ChatMessage.role,
            ChatMessage.status,
            ChatMessage.created_at,
            ChatMessage.content,
            ChatMessage.meta,
        )
        .where(ChatMessage.session_id == session_id)
        .order_by(ChatMessage.seq.desc())
    )
    if before is None:
        return statement
    place = aliased(ChatMessage)
    return statement.where(
        ChatMessage.seq
        < select(place.seq).where(place.session_id == session_id, place.uuid == before).scalar_subquery()
    )
