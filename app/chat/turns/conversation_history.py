"""`ConversationHistory` over the message table."""

from dataclasses import dataclass
from uuid import UUID

from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import history
from app.database.repositories.chat.history import StoredMessage
from app.graph.ports.messages import HistoryMessage, SessionHistory, Summary


@dataclass(frozen=True, slots=True)
class StoredConversationHistory:
    """`ConversationHistory` over the message table, for one user."""

    database: Database
    user_id: int
    with_summary: bool = True
    """Whether the summary of older messages is loaded too."""

    async def load(self, session_id: UUID, *, before_seq: int, limit: int) -> SessionHistory:
        """See `ConversationHistory`."""
        if limit == 0:
            return SessionHistory()
        async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            rows, summary = await history.load_history(
                connection,
                user_id=self.user_id,
                session_uuid=session_id,
                before_seq=before_seq,
                limit=limit,
                with_summary=self.with_summary,
            )
        return SessionHistory(
            [history_message(row) for row in rows],
            Summary(text=summary.text, upto_seq=summary.upto_seq) if summary else None,
        )


def history_message(row: StoredMessage) -> HistoryMessage:
    """Convert a stored message to the type that the graph uses."""
    return {"seq": row.seq, "role": "assistant" if row.role == "assistant" else "user", "content": row.content}
