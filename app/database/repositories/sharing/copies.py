"""Copies of snapshots as sessions."""

from datetime import datetime

from sqlalchemy import BigInteger, Integer, Uuid, bindparam, column, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.core.schema_types import new_id
from app.database.models import ChatMessage, ChatSession
from app.database.repositories.chat.turn_sql import message_preview
from app.database.repositories.sharing.shares import SharedMessages

_copied = (
    func.jsonb_to_recordset(bindparam("p_messages", type_=JSONB))
    .table_valued(
        column("uuid", Uuid),
        column("seq", Integer),
        *(column(name, ChatMessage.__table__.c[name].type) for name in ("role", "content", "status")),
        column("timestamp", ChatMessage.__table__.c.updated_at.type),
        column("metadata", JSONB),
        name="copied",
    )
    .render_derived(with_types=True)
)
_SESSION_ID = bindparam("p_session_id", type_=BigInteger)
_COPY = (
    insert(ChatMessage)
    .from_select(
        ["session_id", "uuid", "seq", "role", "content", "status", "created_at", "updated_at", "metadata"],
        select(
            _SESSION_ID,
            _copied.c.uuid,
            _copied.c.seq,
            _copied.c.role,
            _copied.c.content,
            _copied.c.status,
            _copied.c.timestamp,
            _copied.c.timestamp,
            _copied.c.metadata,
        ).order_by(_copied.c.seq),
    )
    .execution_options(dml_strategy="raw")
)  # parameters of the statement, not column values for a bulk insert
_previous = aliased(ChatMessage)
_LINK = (
    update(ChatMessage)
    .where(
        ChatMessage.session_id == _SESSION_ID,
        ChatMessage.parent_id.is_(None),
        _previous.session_id == ChatMessage.session_id,
        _previous.seq == ChatMessage.seq - 1,
    )
    .values({ChatMessage.parent_id: _previous.id, ChatMessage.updated_at: ChatMessage.updated_at})
    .execution_options(synchronize_session=False)
)


async def store_copy(session: AsyncSession, copy: ChatSession, messages: SharedMessages) -> None:
    """Store the messages of a snapshot in a new, empty session, with new ids. Three statements."""
    rows = [
        {
            "uuid": str(new_id()),
            "seq": seq,
            **{name: message[name] for name in ("role", "content", "status", "timestamp")},
            "metadata": {"model_used": message["model"]} if message["model"] else {},
        }
        for seq, message in enumerate(messages, start=1)
    ]
    await session.execute(_COPY, {"p_session_id": copy.id, "p_messages": rows})
    await session.execute(_LINK, {"p_session_id": copy.id})
    await session.execute(
        update(ChatSession)
        .where(ChatSession.id == copy.id)
        .values(
            last_seq=len(rows),
            message_count=len(rows),
            last_message_preview=message_preview(messages[-1]["content"]),
            last_message_at=datetime.fromisoformat(messages[-1]["timestamp"]),
        )
        .execution_options(synchronize_session=False)
    )
