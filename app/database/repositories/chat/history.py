"""Conversation history: the messages of a branch before a question, and the summary of the older ones.

The statement reads a bounded number of rows, however long the session is and however many branches it has.
"""

from dataclasses import dataclass
from operator import attrgetter
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Integer,
    Text,
    Uuid,
    bindparam,
    case,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.orm import aliased

from app.database import statements
from app.database.models import ChatMessage, ChatSession, ChatSummary
from app.database.statements import AnyConnection, Statement


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A message at a depth of its branch."""

    depth: int
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class StoredSummary:
    """Summary of the messages of a branch up to a depth."""

    text: str
    upto_depth: int


_SUMMARY_ROLE = "summary"
_SESSION_ID = (
    select(ChatSession.id)
    .where(
        ChatSession.uuid == bindparam("p_session_uuid", type_=Uuid),
        ChatSession.user_id == bindparam("p_user_id", type_=BigInteger),
    )
    .scalar_subquery()
)
_QUESTION = aliased(ChatMessage)
_IS_QUESTION = (_QUESTION.uuid == bindparam("p_question_uuid", type_=Uuid), _QUESTION.session_id == _SESSION_ID)
_BEFORE_DEPTH = bindparam("p_before_depth", type_=Integer)
# Incomplete answers and fallback messages are not part of the conversation.
_IS_SENT = case((ChatMessage.status == "complete", 1), else_=0)
_COLUMNS = (
    ChatMessage.parent_id,
    ChatMessage.depth,
    ChatMessage.role,
    ChatMessage.content,
    _IS_SENT.label("is_sent"),
)
_newest = (
    select(*_COLUMNS, _IS_SENT.label("count"))
    .join(_QUESTION, ChatMessage.id == func.chat_message_ancestor(_QUESTION.id, _BEFORE_DEPTH - 1))
    .where(*_IS_QUESTION)
    .cte("branch", recursive=True)
)
_branch = _newest.union_all(
    select(*_COLUMNS, _newest.c.count + _IS_SENT)
    .join(_newest, ChatMessage.id == _newest.c.parent_id)
    .where(_newest.c.count < bindparam("p_limit", type_=Integer))
)
_messages = select(_branch.c.depth, _branch.c.role, _branch.c.content).where(_branch.c.is_sent == 1)
_summary = (
    select(ChatSummary.depth, literal(_SUMMARY_ROLE, Text).label("role"), ChatSummary.content)
    .join(_QUESTION, _QUESTION.session_id == ChatSummary.session_id)
    .where(
        *_IS_QUESTION,
        ChatSummary.depth < _BEFORE_DEPTH,
        func.chat_message_ancestor(_QUESTION.id, ChatSummary.depth) == ChatSummary.message_id,
    )
    .order_by(ChatSummary.depth.desc())
    .limit(1)
    .subquery("summary")
)
_MESSAGES = Statement(_messages)
_MESSAGES_AND_SUMMARY = Statement(union_all(_messages, select(_summary).where(_summary.c.content != "")))


async def load_history(  # noqa: PLR0913 - the question, and what to load
    connection: AnyConnection,
    *,
    user_id: int,
    session_uuid: UUID,
    question_uuid: UUID,
    before_depth: int,
    limit: int,
    with_summary: bool,
) -> tuple[list[HistoryRow], StoredSummary | None]:
    """Return up to `limit` messages of the branch of a question, oldest first, and with `with_summary` its summary.

    The messages are those before the depth `before_depth`.
    """
    rows = await statements.fetch(
        connection,
        _MESSAGES_AND_SUMMARY if with_summary else _MESSAGES,
        {
            "p_session_uuid": session_uuid,
            "p_user_id": user_id,
            "p_question_uuid": question_uuid,
            "p_before_depth": before_depth,
            "p_limit": limit,
        },
    )
    messages, summary = [], None
    for row in rows:
        if row["role"] == _SUMMARY_ROLE:
            summary = StoredSummary(row["content"], row["depth"])
        else:
            messages.append(HistoryRow(**row))
    # The rows of a union have no defined order.
    return sorted(messages, key=attrgetter("depth")), summary
