"""Chat sessions of an owner. Every function is restricted to sessions of the given user."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Select,
    Uuid,
    bindparam,
    false,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.sql.dml import ReturningInsert

from app.core.schema_types import new_id
from app.database.models import ChatMessage, ChatSession, MessageFeedback, User
from app.database.models.chat.chat_session import TitleSource
from app.database.repositories.chat import session_batches
from app.database.repositories.chat.session_batches import DeletedSessions
from app.database.repositories.usage import ledger
from app.database.repositories.webhooks import event_outbox


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to store."""

    title: str
    meta: dict[str, Any]
    title_source: TitleSource = "user"
    uuid: UUID = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message with the public id of its parent, and the feedback on it."""

    message: ChatMessage
    parent_uuid: UUID | None
    is_orphaned: bool
    """Whether the answer is active, but its lease has expired. The next question in the session interrupts it."""
    feedback: MessageFeedback | None


class StoredTurn(NamedTuple):
    """A question and its answer, and the title of their session."""

    question: MessageRow
    answer: MessageRow
    title: str


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
            title_source=bindparam("p_title_source"),
            meta=bindparam("p_meta"),
        )
        .returning(ChatSession)
        .add_cte(event_outbox.session_event_statement(event_data).cte("event"))
        # The parameters are those of the statement, not column values for a bulk insert.
        .execution_options(dml_strategy="orm")
    )


def _lock_statement() -> Select[ChatSession]:
    # An account is locked before its sessions, wherever both are: the event of a change refers to the account.
    owner = ledger.owner_statement()
    return (
        select(ChatSession)
        .where(ChatSession.user_id == owner.c.id, ChatSession.uuid == _SESSION_UUID)
        .with_for_update(of=ChatSession)
    )


_LOCK = _lock_statement()
_CREATE = _create_statement()


async def create(session: AsyncSession, new: NewSession, *, user_id: int) -> ChatSession:
    """Insert a session without messages, and its event."""
    values = {
        "p_session_uuid": new.uuid,
        "p_user_id": user_id,
        "p_title": new.title,
        "p_title_source": new.title_source,
        "p_meta": new.meta,
    }
    return (await session.scalars(_CREATE, values | event_outbox.parameters("session.created"))).one()


async def get(session: AsyncSession, *, user_id: int, session_uuid: UUID) -> ChatSession | None:
    """Return a session of the user. None: there is none."""
    row: ChatSession | None = await session.scalar(
        select(ChatSession).where(ChatSession.user_id == user_id, ChatSession.uuid == session_uuid)
    )
    return row


async def lock(session: AsyncSession, *, user_id: int, session_uuid: UUID) -> ChatSession | None:
    """Lock a session of the user until the transaction ends, and return it. None: there is none."""
    row: ChatSession | None = await session.scalar(_LOCK, {"p_user_id": user_id, "p_session_uuid": session_uuid})
    return row


async def change(session: AsyncSession, locked: ChatSession, values: Mapping[str, Any]) -> None:
    """Set columns of a locked session. It keeps its place in lists."""
    await session.execute(
        update(ChatSession)
        .where(ChatSession.id == locked.id)
        .values({**values, "updated_at": ChatSession.updated_at})
        .execution_options(synchronize_session=False)
    )
    await session.refresh(locked)


async def find_turn(session: AsyncSession, *, user_id: int, session_uuid: UUID, answer_uuid: UUID) -> StoredTurn | None:
    """Return a turn of the user. None: there is no such answer."""
    question, parent = aliased(ChatMessage), aliased(ChatMessage)
    row = (
        await session.execute(
            select(
                question,
                parent.uuid,
                ChatMessage,
                func.coalesce(ChatMessage.lease_expires_at < func.now(), false()),
                MessageFeedback,
                ChatSession.title,
            )
            .join(question, ChatMessage.parent_id == question.id)
            .outerjoin(parent, question.parent_id == parent.id)
            .outerjoin(MessageFeedback, MessageFeedback.message_id == ChatMessage.id)
            .join(ChatSession, ChatMessage.session_id == ChatSession.id)
            .where(
                ChatSession.user_id == user_id,
                ChatSession.uuid == session_uuid,
                ChatMessage.uuid == answer_uuid,
                ChatMessage.role == "assistant",
            )
        )
    ).one_or_none()
    if row is None:
        return None
    question_row, parent_uuid, answer_row, is_orphaned, feedback, title = row
    return StoredTurn(
        MessageRow(question_row, parent_uuid, is_orphaned=False, feedback=None),
        MessageRow(answer_row, question_row.uuid, is_orphaned=is_orphaned, feedback=feedback),
        title,
    )


async def remove(session: AsyncSession, *, user_id: int, session_uuid: UUID) -> DeletedSessions | None:
    """Delete a session with its messages, as `session_batches.remove`. None: there is none."""
    locked = await lock(session, user_id=user_id, session_uuid=session_uuid)
    if locked is None:
        return None
    return await session_batches.remove(session, [locked.id], user_id=user_id)
