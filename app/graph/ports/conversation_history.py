"""Port to the earlier messages of a session."""

from typing import Protocol
from uuid import UUID

from app.graph.ports.messages import SessionHistory


class ConversationHistory(Protocol):
    """Source of the earlier messages of a session."""

    async def load(self, session_id: UUID, *, before_seq: int, limit: int) -> SessionHistory:
        """Return the newest `limit` messages before `before_seq`, and the summary of the older ones."""
        ...
