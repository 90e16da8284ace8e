"""Copies of snapshots as sessions."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.models import ChatSession
from app.database.repositories.sharing.shares import SharedMessages
from app.database.repositories.transfer import session_store
from app.database.repositories.transfer.session_store import NewMessage
from app.database.repositories.turns.turn_sql import message_preview


async def store_copy(session: AsyncSession, copy: ChatSession, messages: SharedMessages) -> None:
    """Store the messages of a snapshot in a new, empty session, with new ids."""
    branch = [
        NewMessage(
            parent=index - 1 if index else None,
            role=message["role"],
            content=message["content"],
            status=message["status"],
            created_at=datetime.fromisoformat(message["timestamp"]),
            meta={"model_used": message["model"]} if message["model"] else {},
        )
        for index, message in enumerate(messages)
    ]
    await session_store.insert_messages(await session.connection(), branch, session_id=copy.id)
    await session.execute(
        update(ChatSession)
        .where(ChatSession.id == copy.id)
        .values(
            last_seq=len(branch),
            message_count=len(branch),
            last_message_preview=message_preview(branch[-1].content),
            last_message_at=branch[-1].created_at,
        )
        .execution_options(synchronize_session=False)
    )
