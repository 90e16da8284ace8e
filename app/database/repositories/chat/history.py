"""Conversation history: the newest messages of a session, and the summary of the older ones.

Each function executes one statement, which reads a bounded number of rows however long the session is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Integer,
    Interval,
    Select,
    Text,
    Uuid,
    bindparam,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
    update,
)

from app.database import statements
from app.database.models import ChatMessage, ChatSession
from app.database.statements import AnyConnection, Statement


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message at a position of a session."""

    seq: int
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class StoredSummary:
    """Summary of the messages up to a position."""

    text: str
    upto_seq: int


@dataclass(frozen=True, slots=True)
class SummaryClaim:
    """A lease on the summary of a session, held until the summary is stored or the lease expires."""

    user_id: int
    session_id: int
    text: str
    """Current summary. Empty: there is none."""
    upto_seq: int
    lease_expires_at: datetime


_SUMMARY_ROLE = "summary"
_BY_PUBLIC_ID = (
    ChatSession.uuid == bindparam("p_session_uuid", type_=Uuid),
    ChatSession.user_id == bindparam("p_user_id", type_=BigInteger),
)
_BY_KEY = (
    ChatSession.id == bindparam("p_session_id", type_=BigInteger),
    ChatSession.user_id == bindparam("p_user_id", type_=BigInteger),
)


def _messages() -> Select[int, str, str]:
    # Incomplete answers and fallback messages are not part of the conversation.
    return select(ChatMessage.seq, ChatMessage.role, ChatMessage.content).where(ChatMessage.status == "complete")


# A scalar subquery instead of a join: with a join PostgreSQL would read and sort all messages of the session.
_newest = (
    _messages()
    .where(
        ChatMessage.session_id == select(ChatSession.id).where(*_BY_PUBLIC_ID).scalar_subquery(),
        ChatMessage.seq < bindparam("p_before_seq", type_=Integer),
    )
    .order_by(ChatMessage.seq.desc())
    .limit(bindparam("p_limit", type_=Integer))
)
_NEWEST = Statement(_newest)
_NEWEST_WITH_SUMMARY = Statement(
    union_all(
        select(_newest.subquery("newest")),
        select(ChatSession.summary_upto_seq, literal(_SUMMARY_ROLE, Text), ChatSession.summary).where(
            *_BY_PUBLIC_ID, ChatSession.summary.is_not(None)
        ),
    )
)
_UNSUMMARIZED = Statement(
    _messages()
    .where(
        ChatMessage.session_id == select(ChatSession.id).where(*_BY_KEY).scalar_subquery(),
        ChatMessage.seq > bindparam("p_after_seq", type_=Integer),
        ChatMessage.seq <= bindparam("p_upto_seq", type_=Integer),
    )
    .order_by(ChatMessage.seq)
    .limit(bindparam("p_limit", type_=Integer))
)
# Updates of the summary must not change the order of sessions in lists.
_KEEP_UPDATED_AT = {ChatSession.updated_at: ChatSession.updated_at}
_CLAIM = Statement(
    update(ChatSession)
    .where(
        *_BY_KEY,
        ChatSession.summary_upto_seq < bindparam("p_upto_seq", type_=Integer),
        or_(ChatSession.summary_lease_expires_at.is_(None), ChatSession.summary_lease_expires_at < func.now()),
    )
    .values(
        {ChatSession.summary_lease_expires_at: func.now() + bindparam("p_lease", type_=Interval), **_KEEP_UPDATED_AT}
    )
    .returning(
        func.coalesce(ChatSession.summary, "").label("text"),
        ChatSession.summary_upto_seq,
        ChatSession.summary_lease_expires_at,
    )
)
_IS_CLAIMED = (
    *_BY_KEY,
    ChatSession.summary_upto_seq == bindparam("p_after_seq", type_=Integer),
    ChatSession.summary_lease_expires_at == bindparam("p_lease_expires_at"),
)
_release = (
    update(ChatSession).where(*_IS_CLAIMED).values({ChatSession.summary_lease_expires_at: null(), **_KEEP_UPDATED_AT})
)
_RELEASE = Statement(_release)
_STORE = Statement(
    _release.values(
        {
            ChatSession.summary: func.nullif(bindparam("p_summary", type_=Text), ""),
            ChatSession.summary_upto_seq: bindparam("p_upto_seq", type_=Integer),
        }
    ).returning(ChatSession.id)
)


async def load_history(
    connection: AnyConnection,
    *,
    user_id: int,
    session_uuid: UUID,
    before_seq: int,
    limit: int,
    with_summary: bool,
) -> tuple[list[StoredMessage], StoredSummary | None]:
    """Return up to `limit` messages before a position, oldest first, and with `with_summary` the stored summary."""
    rows = await statements.fetch(
        connection,
        _NEWEST_WITH_SUMMARY if with_summary else _NEWEST,
        {"p_session_uuid": session_uuid, "p_user_id": user_id, "p_before_seq": before_seq, "p_limit": limit},
    )
    messages, summary = [], None
    for row in rows:
        if row["role"] == _SUMMARY_ROLE:
            summary = StoredSummary(row["content"], row["seq"])
        else:
            messages.append(StoredMessage(**row))
    # The rows of a union have no defined order.
    return sorted(messages, key=attrgetter("seq")), summary


async def claim_summary(
    connection: AnyConnection, *, user_id: int, session_id: int, upto_seq: int, lease: timedelta
) -> SummaryClaim | None:
    """Claim the summary of a session for an update up to a position.

    None: it already covers the position, another process has claimed it, or the session was deleted.
    """
    values = {"p_user_id": user_id, "p_session_id": session_id, "p_upto_seq": upto_seq, "p_lease": lease}
    row = await statements.fetch_one(connection, _CLAIM, values)
    if row is None:
        return None
    return SummaryClaim(user_id, session_id, row["text"], row["summary_upto_seq"], row["summary_lease_expires_at"])


async def load_unsummarized(
    connection: AnyConnection, claim: SummaryClaim, *, upto_seq: int, limit: int
) -> Sequence[StoredMessage]:
    """Return the first `limit` messages after the summary, up to a position, oldest first."""
    rows = await statements.fetch(
        connection,
        _UNSUMMARIZED,
        {
            "p_user_id": claim.user_id,
            "p_session_id": claim.session_id,
            "p_after_seq": claim.upto_seq,
            "p_upto_seq": upto_seq,
            "p_limit": limit,
        },
    )
    return [StoredMessage(**row) for row in rows]


async def store_summary(connection: AnyConnection, claim: SummaryClaim, summary: StoredSummary) -> bool:
    """Replace a claimed summary and release it. False: the claim has expired, or the session was deleted."""
    values = {**_claim_parameters(claim), "p_summary": summary.text, "p_upto_seq": summary.upto_seq}
    return await statements.fetch_one(connection, _STORE, values) is not None


async def release_summary(connection: AnyConnection, claim: SummaryClaim) -> None:
    """Release a claimed summary without changing it."""
    await statements.fetch(connection, _RELEASE, _claim_parameters(claim))


def _claim_parameters(claim: SummaryClaim) -> dict[str, object]:
    return {
        "p_user_id": claim.user_id,
        "p_session_id": claim.session_id,
        "p_after_seq": claim.upto_seq,
        "p_lease_expires_at": claim.lease_expires_at,
    }
