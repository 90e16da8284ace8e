"""Conversation summaries: claims, the messages to summarize, and storing.

A summary belongs to the message up to which it summarizes, so that it is used for the branches with that message only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from asyncpg import ForeignKeyViolationError
from sqlalchemy import (
    BigInteger,
    DateTime,
    Integer,
    Interval,
    Select,
    Text,
    Update,
    Uuid,
    bindparam,
    delete,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from app.database import statements
from app.database.models import ChatMessage, ChatSession, ChatSummary
from app.database.repositories.chat.history import HistoryRow, StoredSummary
from app.database.statements import AnyConnection, Statement

MAX_SUMMARIES = 8
"""Summaries kept per session, the newest ones. A branch whose summary is gone is summarized again from an older one."""


@dataclass(frozen=True, slots=True)
class SummaryClaim:
    """A lease on summarizing a branch of a session, held until the summary is stored or the lease expires."""

    user_id: int
    session_id: int
    last_id: int
    """The last message of the branch."""
    text: str
    """Summary that the branch has. Empty: none."""
    upto_depth: int
    """Depth up to which it summarizes; 0 without one."""
    lease_expires_at: datetime


_SESSION_ID = bindparam("p_session_id", type_=BigInteger)
_LAST_ID = bindparam("p_last_id", type_=BigInteger)
_UPTO_DEPTH = bindparam("p_upto_depth", type_=Integer)
_AFTER_DEPTH = bindparam("p_after_depth", type_=Integer)
_IS_OWNED = (ChatSession.id == _SESSION_ID, ChatSession.user_id == bindparam("p_user_id", type_=BigInteger))
# Updates of the summary must not change the order of sessions in lists.
_KEEP_UPDATED_AT = {ChatSession.updated_at: ChatSession.updated_at}


def _claim_statement() -> Update:
    last = (
        select(ChatMessage.id)
        .where(ChatMessage.uuid == bindparam("p_last_uuid", type_=Uuid), ChatMessage.session_id == _SESSION_ID)
        .cte("last")
    )
    current = (
        select(ChatSummary.depth, ChatSummary.content)
        .join(last, func.chat_message_ancestor(last.c.id, ChatSummary.depth) == ChatSummary.message_id)
        .where(ChatSummary.session_id == _SESSION_ID)
        .order_by(ChatSummary.depth.desc())
        .limit(1)
        .cte("current")
    )
    depth = func.coalesce(select(current.c.depth).scalar_subquery(), 0)
    return (
        update(ChatSession)
        .where(
            *_IS_OWNED,
            ChatSession.id == select(ChatMessage.session_id).where(ChatMessage.id == last.c.id).scalar_subquery(),
            depth < _UPTO_DEPTH,
            or_(ChatSession.summary_lease_expires_at.is_(None), ChatSession.summary_lease_expires_at < func.now()),
        )
        .values(
            {
                ChatSession.summary_lease_expires_at: func.now() + bindparam("p_lease", type_=Interval),
                **_KEEP_UPDATED_AT,
            }
        )
        .returning(
            select(last.c.id).scalar_subquery().label("last_id"),
            func.coalesce(select(current.c.content).scalar_subquery(), "").label("text"),
            depth.label("upto_depth"),
            ChatSession.summary_lease_expires_at.label("lease_expires_at"),
        )
    )


def _unsummarized_statement() -> Select[Any]:
    columns = (
        ChatMessage.parent_id,
        ChatMessage.depth,
        ChatMessage.role,
        ChatMessage.content,
        ChatMessage.status,
    )
    last = (
        select(*columns)
        .where(
            ChatMessage.id == func.chat_message_ancestor(_LAST_ID, _UPTO_DEPTH), ChatMessage.session_id == _SESSION_ID
        )
        .cte("branch", recursive=True)
    )
    branch = last.union_all(
        select(*columns).join(last, ChatMessage.id == last.c.parent_id).where(ChatMessage.depth > _AFTER_DEPTH)
    )
    return (
        select(branch.c.depth, branch.c.role, branch.c.content)
        .where(branch.c.status == "complete")
        .order_by(branch.c.depth)
    )


_IS_CLAIMED = (
    *_IS_OWNED,
    ChatSession.summary_lease_expires_at == bindparam("p_lease_expires_at", type_=DateTime(timezone=True)),
)
_release = (
    update(ChatSession).where(*_IS_CLAIMED).values({ChatSession.summary_lease_expires_at: null(), **_KEEP_UPDATED_AT})
)


def _store_statement() -> Select[Any]:
    released = _release.returning(ChatSession.id).cte("released")
    # Null if the last message was deleted while the summary was generated.
    message_id = func.chat_message_ancestor(_LAST_ID, _UPTO_DEPTH, type_=BigInteger)
    new = insert(ChatSummary).from_select(
        ["message_id", "session_id", "depth", "content"],
        select(message_id, released.c.id, _UPTO_DEPTH, bindparam("p_summary", type_=Text)).where(
            message_id.is_not(None)
        ),
    )
    stored = (
        new.on_conflict_do_update(index_elements=["message_id"], set_={"content": new.excluded.content})
        .returning(ChatSummary.message_id)
        .cte("stored")
    )
    # The statement does not see the row that it inserts.
    newest = (
        select(ChatSummary.message_id)
        .where(ChatSummary.session_id == _SESSION_ID)
        .order_by(ChatSummary.created_at.desc(), ChatSummary.message_id.desc())
        .limit(MAX_SUMMARIES - 1)
    )
    removed = delete(ChatSummary).where(
        ChatSummary.session_id == select(released.c.id).scalar_subquery(),
        ChatSummary.message_id.not_in(newest),
        ChatSummary.message_id.not_in(select(stored.c.message_id)),
    )
    return select(stored.c.message_id).add_cte(removed.cte("removed"))


_CLAIM = Statement(_claim_statement())
_UNSUMMARIZED = Statement(_unsummarized_statement())
_RELEASE = Statement(_release)
_STORE = Statement(_store_statement())


async def claim_summary(
    connection: AnyConnection, *, user_id: int, session_id: int, last_uuid: UUID, upto_depth: int, lease: timedelta
) -> SummaryClaim | None:
    """Claim the summary of the branch that ends at the message `last_uuid`, for an update up to a depth.

    None: it covers that depth, another process is summarizing the session, or session or message were deleted.
    """
    row = await statements.fetch_one(
        connection,
        _CLAIM,
        {
            "p_user_id": user_id,
            "p_session_id": session_id,
            "p_last_uuid": last_uuid,
            "p_upto_depth": upto_depth,
            "p_lease": lease,
        },
    )
    return SummaryClaim(user_id, session_id, **row) if row else None


async def load_unsummarized(connection: AnyConnection, claim: SummaryClaim, *, upto_depth: int) -> Sequence[HistoryRow]:
    """Return the complete messages of the branch after its summary, up to a depth, oldest first."""
    rows = await statements.fetch(
        connection,
        _UNSUMMARIZED,
        {
            "p_session_id": claim.session_id,
            "p_last_id": claim.last_id,
            "p_after_depth": claim.upto_depth,
            "p_upto_depth": upto_depth,
        },
    )
    return [HistoryRow(**row) for row in rows]


async def store_summary(connection: AnyConnection, claim: SummaryClaim, summary: StoredSummary) -> bool:
    """Store a summary and release the claim. False: the claim has expired, or session or messages were deleted."""
    values = {
        **_claim_parameters(claim),
        "p_last_id": claim.last_id,
        "p_summary": summary.text,
        "p_upto_depth": summary.upto_depth,
    }
    try:
        return await statements.fetch_one(connection, _STORE, values) is not None
    except (IntegrityError, ForeignKeyViolationError):
        return False  # the message was deleted while the statement waited


async def release_summary(connection: AnyConnection, claim: SummaryClaim) -> None:
    """Release a claim without storing a summary."""
    await statements.fetch(connection, _RELEASE, _claim_parameters(claim))


def _claim_parameters(claim: SummaryClaim) -> dict[str, object]:
    return {
        "p_user_id": claim.user_id,
        "p_session_id": claim.session_id,
        "p_lease_expires_at": claim.lease_expires_at,
    }
