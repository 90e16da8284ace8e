"""Titles that a model has written."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Select, String, Uuid, bindparam, exists, literal, literal_column, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import ChatMessage, ChatSession, LlmCall
from app.database.repositories.chat import sessions
from app.database.repositories.webhooks import event_outbox


def _store_statement() -> Select[Any]:
    changed = (
        update(ChatSession)
        .where(
            ChatSession.id == bindparam("p_session_id", type_=BigInteger),
            # Not the title of a question that was deleted in the meantime.
            exists().where(
                ChatMessage.session_id == ChatSession.id,
                ChatMessage.uuid == bindparam("p_question_uuid", type_=Uuid),
            ),
            ChatSession.title_source.in_([literal_column("'default'"), literal_column("'question'")]),
        )
        # The session keeps its place in lists.
        .values(
            {
                ChatSession.title: bindparam("p_title", type_=String),
                ChatSession.title_source: literal_column("'model'"),
                ChatSession.updated_at: ChatSession.updated_at,
            }
        )
        .returning(ChatSession.user_id, ChatSession.uuid)
        .cte("changed")
    )
    event_data = event_outbox.changed_sessions(changed, {"changed": literal(["title"], JSONB)})
    return select(changed.c.uuid).add_cte(event_outbox.session_event_statement(event_data).cte("event"))


_STORE = _store_statement()
_IS_REQUESTED = select(
    exists().where(
        LlmCall.session_id == bindparam("p_session_id", type_=BigInteger),
        LlmCall.user_id == bindparam("p_user_id", type_=BigInteger),
        LlmCall.purpose == literal_column("'title'"),
    )
)


async def store(session: AsyncSession, *, user_id: int, session_uuid: UUID, question_uuid: UUID, title: str) -> bool:
    """Store the title that a model wrote for a question.

    False: the user or a model has named the session already, or the session or the question was deleted.
    """
    # Locked by a statement of its own, so that the next one sees whether the question has been deleted.
    locked = await sessions.lock(session, user_id=user_id, session_uuid=session_uuid)
    if locked is None:
        return False
    values = {"p_session_id": locked.id, "p_question_uuid": question_uuid, "p_title": title}
    return await session.scalar(_STORE, values | event_outbox.parameters("session.updated")) is not None


async def is_requested(connection: AsyncConnection, *, user_id: int, session_id: int) -> bool:
    """Return whether the ledger has a request for a title of a session of the user."""
    return bool(await connection.scalar(_IS_REQUESTED, {"p_user_id": user_id, "p_session_id": session_id}))
