"""The tables. Importing this package registers all of them on `Base.metadata`."""

from app.database.models.auth_session import AuthSession
from app.database.models.chat_message import ChatMessage
from app.database.models.chat_session import ChatSession
from app.database.models.llm_call import LlmCall
from app.database.models.user import User

__all__ = ["AuthSession", "ChatMessage", "ChatSession", "LlmCall", "User"]
