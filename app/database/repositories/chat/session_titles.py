"""Titles that a model has written."""

from typing import Any

from sqlalchemy import BigInteger, Select, String, bindparam, literal, literal_column, select, update
from sqlalchemy.dialects.postgresql import JSONB

from app.database import statements
from app.database.models import ChatSession
from app.database.repositories.usage import ledger
from app.database.repositories.webhooks import event_outbox
from app.database.statements import AnyConnection, Statement


def _store_statement() -> Select[Any]:
    # The event refers to the account. Accounts are locked before their sessions, in every transaction.
    owner = ledger.owner_statement()
    changed = (
        update(ChatSession)
        .where(
            ChatSession.id == bindparam("p_session_id", type_=BigInteger),
            ChatSession.user_id == owner.c.id,
            # Not the title of a question that was deleted in the meantime.
            ChatSession.message_count > 0,
            ChatSession.title_source.in_([literal_column("'default'"), literal_column("'question'")]),
        )
        # The session keeps its place in lists.
        .values(
            {
                ChatSession.title: bindparam("p_title", type_=String),
                ChatSession.title_source: literal_column("'model'"),
                ChatSession.updated_at: ChatSession.updated_at,
            }
        )
        .returning(ChatSession.user_id, ChatSession.uuid)
        .cte("changed")
    )
    event_data = event_outbox.changed_sessions(changed, {"changed": literal(["title"], JSONB)})
    return select(changed.c.uuid).add_cte(event_outbox.session_event_statement(event_data).cte("event"))


_STORE = Statement(_store_statement())


async def store(connection: AnyConnection, *, user_id: int, session_id: int, title: str) -> bool:
    """Store the title of a model. False: the user or a model has named the session already, or it was deleted."""
    values = {"p_user_id": user_id, "p_session_id": session_id, "p_title": title}
    return (
        await statements.fetch_one(connection, _STORE, values | event_outbox.parameters("session.updated")) is not None
    )
