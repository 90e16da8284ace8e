"""Chat sessions of an owner. Every function is restricted to sessions of the given user."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Select, Uuid, any_, bindparam, delete, false, func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.sql.dml import ReturningInsert

from app.core.schema_types import new_id
from app.database.models import ChatMessage, ChatSession, User
from app.database.repositories.usage import ledger
from app.database.repositories.webhooks import event_outbox


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to store."""

    title: str
    meta: dict[str, Any]
    uuid: UUID = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message, and the public id of its parent."""

    message: ChatMessage
    parent_uuid: UUID | None
    is_orphaned: bool
    """Whether the answer is active, but its lease has expired. The next question in the session interrupts it."""


_USER_ID = bindparam("p_user_id", type_=BigInteger)
_SESSION_UUID = bindparam("p_session_uuid", type_=Uuid)


def _create_statement() -> ReturningInsert[ChatSession]:
    event_data = (
        select(User.id.label("owner_id"), User.uuid.label("user_id"), _SESSION_UUID.label("session_id"))
        .where(User.id == _USER_ID)
        .subquery("event_data")
    )
    return (
        insert(ChatSession)
        .values(
            uuid=_SESSION_UUID,
            user_id=_USER_ID,
            title=bindparam("p_title"),
            meta=bindparam("p_meta"),
        )
        .returning(ChatSession)
        .add_cte(event_outbox.session_event_statement(event_data).cte("event"))
        # The parameters are those of the statement, not column values for a bulk insert.
        .execution_options(dml_strategy="orm")
    )


def _remove_statement() -> Select[Any]:
    # The event refers to the account. Accounts are locked before their sessions, in every transaction.
    owner = ledger.owner_statement()
    removed = (
        delete(ChatSession)
        .where(ChatSession.user_id == owner.c.id, ChatSession.uuid == _SESSION_UUID)
        .returning(ChatSession.user_id, ChatSession.uuid, ChatSession.message_count)
        .cte("removed")
    )
    event_data = (
        select(
            removed.c.user_id.label("owner_id"),
            User.uuid.label("user_id"),
            removed.c.uuid.label("session_id"),
            removed.c.message_count,
        )
        .join(User, User.id == removed.c.user_id)
        .subquery("event_data")
    )
    return select(removed.c.uuid).add_cte(event_outbox.session_event_statement(event_data).cte("event"))


_CREATE = _create_statement()
_REMOVE = _remove_statement()


async def create(session: AsyncSession, new: NewSession, *, user_id: int) -> ChatSession:
    """Insert a session without messages, and its event."""
    values = {"p_session_uuid": new.uuid, "p_user_id": user_id, "p_title": new.title, "p_meta": new.meta}
    return (await session.scalars(_CREATE, values | event_outbox.parameters("session.created"))).one()


async def get(session: AsyncSession, *, user_id: int, session_uuid: UUID) -> ChatSession | None:
    """Return a session of the user. None: there is none, or it is archived."""
    row: ChatSession | None = await session.scalar(_owned(user_id).where(ChatSession.uuid == session_uuid))
    return row


async def list_page(
    session: AsyncSession, *, user_id: int, page: int, size: int, matching: Sequence[int] | None
) -> tuple[Sequence[ChatSession], int]:
    """Return a page of the user's sessions, last updated first, and the total number. Two statements.

    `matching`: internal keys to which the list is restricted; None: all.
    """
    statement = _owned(user_id)
    if matching is not None:
        statement = statement.where(ChatSession.id == any_(literal(list(matching), ARRAY(BigInteger))))
    total = await session.scalar(select(func.count()).select_from(statement.subquery()))
    rows = await session.scalars(
        statement.order_by(ChatSession.updated_at.desc(), ChatSession.id.desc()).offset((page - 1) * size).limit(size)
    )
    return rows.all(), total or 0


async def list_newest_messages(session: AsyncSession, *, session_id: int, limit: int) -> list[MessageRow]:
    """Return the newest messages of a session, oldest first. The caller must have checked the owner."""
    parent = aliased(ChatMessage)
    rows = await session.execute(
        select(ChatMessage, parent.uuid, func.coalesce(ChatMessage.lease_expires_at < func.now(), false()))
        .outerjoin(parent, ChatMessage.parent_id == parent.id)
        .where(ChatMessage.session_id == session_id)
        .order_by(ChatMessage.seq.desc())
        .limit(limit)
    )
    return [MessageRow(*row) for row in reversed(rows.all())]


async def find_turn(
    session: AsyncSession, *, user_id: int, session_uuid: UUID, answer_uuid: UUID
) -> tuple[MessageRow, MessageRow] | None:
    """Return the question and the answer of a turn of the user. None: there is no such answer."""
    question = aliased(ChatMessage)
    row = (
        await session.execute(
            select(question, ChatMessage, func.coalesce(ChatMessage.lease_expires_at < func.now(), false()))
            .join(question, ChatMessage.parent_id == question.id)
            .join(ChatSession, ChatMessage.session_id == ChatSession.id)
            .where(
                ChatSession.user_id == user_id,
                ChatSession.is_active,
                ChatSession.uuid == session_uuid,
                ChatMessage.uuid == answer_uuid,
                ChatMessage.role == "assistant",
            )
        )
    ).one_or_none()
    if row is None:
        return None
    question_row, answer_row, is_orphaned = row
    return (
        MessageRow(question_row, None, is_orphaned=False),
        MessageRow(answer_row, question_row.uuid, is_orphaned=is_orphaned),
    )


async def remove(session: AsyncSession, *, user_id: int, session_uuid: UUID) -> bool:
    """Delete a session with its messages. Ledger entries are kept. False: there is none."""
    values = {"p_session_uuid": session_uuid, "p_user_id": user_id}
    return await session.scalar(_REMOVE, values | event_outbox.parameters("session.deleted")) is not None


def _owned(user_id: int) -> Select[ChatSession]:
    return select(ChatSession).where(ChatSession.user_id == user_id, ChatSession.is_active)
