"""`ConversationHistory` over the message table."""

from dataclasses import dataclass
from uuid import UUID

from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import history
from app.database.repositories.chat.history import HistoryRow
from app.graph.ports.messages import HistoryMessage, SessionHistory, Summary


@dataclass(frozen=True, slots=True)
class StoredConversationHistory:
    """`ConversationHistory` over the message table, for one question of a user."""

    database: Database
    user_id: int
    question_uuid: UUID | None
    """The question whose branch is loaded. None: a direct question, for which nothing is."""
    with_summary: bool = True
    """Whether the summary of older messages is loaded too."""

    async def load(self, session_id: UUID, *, before_depth: int, limit: int) -> SessionHistory:
        """See `ConversationHistory`."""
        if limit == 0 or self.question_uuid is None:
            return SessionHistory()
        async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            rows, summary = await history.load_history(
                connection,
                user_id=self.user_id,
                session_uuid=session_id,
                question_uuid=self.question_uuid,
                before_depth=before_depth,
                limit=limit,
                with_summary=self.with_summary,
            )
        return SessionHistory(
            [history_message(row) for row in rows],
            Summary(text=summary.text, upto_depth=summary.upto_depth) if summary else None,
        )


def history_message(row: HistoryRow) -> HistoryMessage:
    """Convert a stored message to the type that the graph uses."""
    return {"depth": row.depth, "role": "assistant" if row.role == "assistant" else "user", "content": row.content}
