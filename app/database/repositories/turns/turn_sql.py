"""SQL fragments and helpers shared by the statements about turns."""

from sqlalchemy import bindparam, literal_column, select

from app.database.models import ChatMessage, ChatSession
from app.database.models.chat.chat_session import PREVIEW_LENGTH

# Literals instead of parameters, so that PostgreSQL can use the partial index of active answers.
IS_ACTIVE = ChatMessage.status.in_([literal_column("'pending'"), literal_column("'streaming'")])
"""Condition for answers that are being generated."""


OWNED_SESSION_ID = select(ChatSession.id).where(
    ChatSession.uuid == bindparam("p_session_uuid"), ChatSession.user_id == bindparam("p_user_id")
)
"""Selects the internal key of a session of the user."""


def message_preview(content: str) -> str:
    """Return the first characters of a message, as lists of sessions show them."""
    text = content.strip()
    return text if len(text) <= PREVIEW_LENGTH else f"{text[:PREVIEW_LENGTH]}…"
