"""SQL fragments and values that the statements about turns share."""

from sqlalchemy import bindparam, literal_column, select

from app.database.models import ChatMessage, ChatSession
from app.database.models.chat.chat_session import PREVIEW_LENGTH

# Written out, so that PostgreSQL can tell that the index of active answers serves, whatever the parameters.
IS_ACTIVE = ChatMessage.status.in_([literal_column("'pending'"), literal_column("'streaming'")])
"""The answers that are under way."""


OWNED_SESSION_ID = select(ChatSession.id).where(
    ChatSession.uuid == bindparam("p_session_uuid"), ChatSession.user_id == bindparam("p_user_id")
)


def message_preview(content: str) -> str:
    """Return what lists show of a message."""
    text = content.strip()
    return text if len(text) <= PREVIEW_LENGTH else f"{text[:PREVIEW_LENGTH]}…"
