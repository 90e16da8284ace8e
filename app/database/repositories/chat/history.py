"""What a session is remembered by: its newest messages, and the summary of the older ones.

Each function is one statement, and reads a bounded number of rows however long the session is.
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

from app.database import driver
from app.database.driver import AnyConnection, Statement
from app.database.models import ChatMessage, ChatSession


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """What was said at one position of a session."""

    seq: int
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class StoredSummary:
    """What is kept in mind of the messages up to a position."""

    text: str
    upto_seq: int


@dataclass(frozen=True, slots=True)
class SummaryClaim:
    """The right to go on with a session's summary, until it is stored or somebody else may."""

    user_id: int
    session_id: int
    text: str
    """The summary so far; empty: there is none."""
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
    # What the pipeline said by itself is no part of the conversation.
    return select(ChatMessage.seq, ChatMessage.role, ChatMessage.content).where(ChatMessage.status == "complete")


# The session is looked up apart: joined with it, all of its messages would be read and sorted.
_newest = (
    _messages()
    .where(
        ChatMessage.session_id == select(ChatSession.id).where(*_BY_PUBLIC_ID).scalar_subquery(),
        ChatMessage.seq < bindparam("p_before_seq", type_=Integer),
    )
    .order_by(ChatMessage.seq.desc())
    .limit(bindparam("p_limit", type_=Integer))
)
_RECENT = Statement(_newest)
_RECALL = Statement(
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
# None of these makes the session a newer one in lists.
_UNTOUCHED = {ChatSession.updated_at: ChatSession.updated_at}
_CLAIM = Statement(
    update(ChatSession)
    .where(
        *_BY_KEY,
        ChatSession.summary_upto_seq < bindparam("p_upto_seq", type_=Integer),
        or_(ChatSession.summary_lease_expires_at.is_(None), ChatSession.summary_lease_expires_at < func.now()),
    )
    .values({ChatSession.summary_lease_expires_at: func.now() + bindparam("p_lease", type_=Interval), **_UNTOUCHED})
    .returning(
        func.coalesce(ChatSession.summary, "").label("text"),
        ChatSession.summary_upto_seq,
        ChatSession.summary_lease_expires_at,
    )
)
_CLAIMED = (
    *_BY_KEY,
    ChatSession.summary_upto_seq == bindparam("p_after_seq", type_=Integer),
    ChatSession.summary_lease_expires_at == bindparam("p_lease_expires_at"),
)
_free = update(ChatSession).where(*_CLAIMED).values({ChatSession.summary_lease_expires_at: null(), **_UNTOUCHED})
_RELEASE = Statement(_free)
_STORE = Statement(
    _free.values(
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
    """Return the newest messages before a position, oldest first, and the summary of the older ones."""
    rows = await driver.fetch(
        connection,
        _RECALL if with_summary else _RECENT,
        {"p_session_uuid": session_uuid, "p_user_id": user_id, "p_before_seq": before_seq, "p_limit": limit},
    )
    messages, summary = [], None
    for row in rows:
        if row["role"] == _SUMMARY_ROLE:
            summary = StoredSummary(row["content"], row["seq"])
        else:
            messages.append(StoredMessage(**row))
    # The rows of a union have no order to rely on.
    return sorted(messages, key=attrgetter("seq")), summary


async def claim_summary(
    connection: AnyConnection, *, user_id: int, session_id: int, upto_seq: int, lease: timedelta
) -> SummaryClaim | None:
    """Take the right to go on with a session's summary.

    None: it reaches as far already, somebody else is at it, or the session is gone.
    """
    values = {"p_user_id": user_id, "p_session_id": session_id, "p_upto_seq": upto_seq, "p_lease": lease}
    row = await driver.fetch_one(connection, _CLAIM, values)
    if row is None:
        return None
    return SummaryClaim(user_id, session_id, row["text"], row["summary_upto_seq"], row["summary_lease_expires_at"])


async def load_unsummarized(
    connection: AnyConnection, claim: SummaryClaim, *, upto_seq: int, limit: int
) -> Sequence[StoredMessage]:
    """Return the first messages that are not in the summary yet, up to a position."""
    rows = await driver.fetch(
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
    """Replace the summary that was claimed, and give it free. False: it is somebody else's by now, or gone."""
    values = {**_claimed(claim), "p_summary": summary.text, "p_upto_seq": summary.upto_seq}
    return await driver.fetch_one(connection, _STORE, values) is not None


async def release_summary(connection: AnyConnection, claim: SummaryClaim) -> None:
    """Leave the summary as it is, for the next one to try."""
    await driver.fetch(connection, _RELEASE, _claimed(claim))


def _claimed(claim: SummaryClaim) -> dict[str, object]:
    return {
        "p_user_id": claim.user_id,
        "p_session_id": claim.session_id,
        "p_after_seq": claim.upto_seq,
        "p_lease_expires_at": claim.lease_expires_at,
    }
