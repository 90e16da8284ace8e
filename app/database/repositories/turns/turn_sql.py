"""SQL fragments and helpers shared by the statements about turns."""

from typing import Any

from sqlalchemy import ARRAY, ColumnElement, String, Text, and_, any_, bindparam, case, func, literal_column, select

from app.core.turn_duration import TURN_DURATION_LIMIT
from app.database.models import ChatMessage, ChatSession
from app.database.models.chat.chat_session import PREVIEW_LENGTH

# Literals instead of parameters, so that PostgreSQL can use the partial index of active answers.
IS_ACTIVE = ChatMessage.status.in_([literal_column("'pending'"), literal_column("'streaming'")])
"""Condition for answers that are being generated."""

MAY_BE_BUFFERED = and_(ChatMessage.role == "assistant", ChatMessage.updated_at > func.now() - TURN_DURATION_LIMIT)
"""Condition for answers whose text may be in a stream buffer."""

LEAF_SEQ = func.coalesce(ChatSession.active_seq, ChatSession.last_seq)
"""`seq` of the last message of the active branch of a session; 0: there is none."""

SESSION_MODEL = case((ChatSession.model == any_(bindparam("p_session_models", type_=ARRAY(String))), ChatSession.model))
"""Model of a session, if it may replace the default one; otherwise null."""

OWNED_SESSION_ID = select(ChatSession.id).where(
    ChatSession.uuid == bindparam("p_session_uuid"), ChatSession.user_id == bindparam("p_user_id")
)
"""Selects the internal key of a session of the user."""


def last_message_values() -> dict[str, ColumnElement[Any]]:
    """Return the columns of a session to set when an answer is complete.

    Preview and time are those of the active branch: they stay if another branch was selected during the answer.
    """
    is_active = ChatSession.active_seq.is_(None)
    return {
        "last_message_preview": case(
            (is_active, bindparam("p_preview", type_=Text)), else_=ChatSession.last_message_preview
        ),
        "last_message_at": case((is_active, func.now()), else_=ChatSession.last_message_at),
        "updated_at": func.now(),
    }


def message_preview(content: str) -> str:
    """Return the first characters of a message, as lists of sessions show them."""
    text = content.strip()
    return text if len(text) <= PREVIEW_LENGTH else f"{text[:PREVIEW_LENGTH]}…"
