"""Copies of snapshots as sessions."""

from datetime import datetime

from sqlalchemy import BigInteger, bindparam, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.schema_types import new_id
from app.database.models import ChatSession
from app.database.repositories.sharing.shares import SharedMessages
from app.database.repositories.turns.turn_sql import message_preview

# The keys are taken from the sequence first, so that a message can refer to the one before it. The trigger of the table
# sets their places in the tree; the depth says that the first message has no parent.
_COPY = text("""
    WITH copied AS MATERIALIZED (
        SELECT nextval(pg_get_serial_sequence('chat_messages', 'id')) AS id, message.*
        FROM jsonb_to_recordset(:messages) AS message (
            uuid uuid, seq integer, role text, content text, status text, timestamp timestamptz, metadata jsonb
        )
    )
    INSERT INTO chat_messages
        (id, uuid, session_id, seq, parent_id, depth, role, content, status, metadata, created_at, updated_at)
    OVERRIDING SYSTEM VALUE
    SELECT id, uuid, :session_id, seq, lag(id) OVER (ORDER BY seq), CASE seq WHEN 1 THEN 1 END, role, content, status,
           metadata, timestamp, timestamp
    FROM copied ORDER BY seq
""").bindparams(bindparam("session_id", type_=BigInteger), bindparam("messages", type_=JSONB))


async def store_copy(session: AsyncSession, copy: ChatSession, messages: SharedMessages) -> None:
    """Store the messages of a snapshot in a new, empty session, with new ids. Two statements."""
    rows = [
        {
            "uuid": str(new_id()),
            "seq": seq,
            **{name: message[name] for name in ("role", "content", "status", "timestamp")},
            "metadata": {"model_used": message["model"]} if message["model"] else {},
        }
        for seq, message in enumerate(messages, start=1)
    ]
    await session.execute(_COPY, {"session_id": copy.id, "messages": rows})
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
