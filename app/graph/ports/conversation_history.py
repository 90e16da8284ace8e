"""Port to the earlier messages of a session."""

from typing import Protocol
from uuid import UUID

from app.graph.ports.messages import SessionHistory


class ConversationHistory(Protocol):
    """Source of the messages before a question: those of its branch, if the session has several."""

    async def load(self, session_id: UUID, *, before_depth: int, limit: int) -> SessionHistory:
        """Return the newest `limit` messages before the depth `before_depth`, and the summary of the older ones."""
        ...
