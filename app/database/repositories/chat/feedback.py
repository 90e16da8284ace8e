"""Feedback on answers, and its counts by quarter-hour."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import Select, Uuid, bindparam, delete, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.models import ChatMessage, ChatSession, FeedbackQuarter, LlmCall, MessageFeedback
from app.database.repositories.usage import ledger

Rating = Literal["up", "down"]

ALL_REASONS = ""
"""Reason under which all feedback with a rating is counted."""
UNSPECIFIED_REASON = "unspecified"
"""Reason under which feedback without a reason is counted."""


class LockedMessage(NamedTuple):
    """A message that is locked against deletion and other feedback until the transaction ends."""

    id: int
    role: str
    status: str


@dataclass(frozen=True, slots=True)
class NewFeedback:
    """Feedback to store."""

    rating: Rating
    reasons: Sequence[str]
    """Sorted."""
    comment: str | None


class StoredFeedback(NamedTuple):
    """Feedback on an answer."""

    model: str
    """Model that the answer is counted for. Empty: unknown."""
    rating: str
    reasons: list[str]
    comment: str | None
    created_at: datetime
    updated_at: datetime


_COLUMNS = (
    MessageFeedback.model,
    MessageFeedback.rating,
    MessageFeedback.reasons,
    MessageFeedback.comment,
    MessageFeedback.created_at,
    MessageFeedback.updated_at,
)
_QUARTER = timedelta(minutes=15)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

# Locks the account before the message, as every transaction does.
_owner = ledger.owner_statement()
_LOCK: Select[int, str, str] = (
    select(ChatMessage.id, ChatMessage.role, ChatMessage.status)
    .join(ChatSession, ChatMessage.session_id == ChatSession.id)
    .where(
        ChatSession.user_id == _owner.c.id,
        ChatSession.uuid == bindparam("p_session_uuid", type_=Uuid),
        ChatMessage.uuid == bindparam("p_message_uuid", type_=Uuid),
    )
    .with_for_update(of=ChatMessage, key_share=True)
)


async def lock_message(
    session: AsyncSession, *, user_id: int, session_uuid: UUID, message_uuid: UUID
) -> LockedMessage | None:
    """Lock a message of the user. None: there is none."""
    parameters = {"p_user_id": user_id, "p_session_uuid": session_uuid, "p_message_uuid": message_uuid}
    row = (await session.execute(_LOCK, parameters)).one_or_none()
    return LockedMessage(*row) if row else None


async def find(session: AsyncSession, message: LockedMessage) -> StoredFeedback | None:
    """Return the feedback on a locked message. None: there is none."""
    row = (await session.execute(select(*_COLUMNS).where(MessageFeedback.message_id == message.id))).one_or_none()
    return StoredFeedback(*row) if row else None


async def store(
    session: AsyncSession, message: LockedMessage, new: NewFeedback, *, user_id: int, message_uuid: UUID
) -> StoredFeedback:
    """Insert or replace the feedback on a locked answer. `count_change` must be called afterwards."""
    # Metadata of a message may come from a client, the ledger does not.
    model = (
        select(LlmCall.model_requested)
        .where(LlmCall.turn_id == message_uuid, LlmCall.purpose == literal_column("'answer'"))
        .order_by(LlmCall.attempt.desc())
        .limit(1)
        .scalar_subquery()
    )
    changed = {"rating": new.rating, "reasons": list(new.reasons), "comment": new.comment}
    statement = (
        insert(MessageFeedback)
        .values(message_id=message.id, user_id=user_id, model=func.coalesce(model, ""), **changed)
        .on_conflict_do_update(index_elements=[MessageFeedback.message_id], set_={**changed, "updated_at": func.now()})
        .returning(*_COLUMNS)
    )
    return StoredFeedback(*(await session.execute(statement)).one())


async def remove(session: AsyncSession, message: LockedMessage) -> None:
    """Delete the feedback on a locked message. `count_change` must be called afterwards."""
    await session.execute(delete(MessageFeedback).where(MessageFeedback.message_id == message.id))


async def count_change(session: AsyncSession, *, before: StoredFeedback | None, after: StoredFeedback | None) -> None:
    """Update the counts after a change. None: there was, or is, no feedback.

    It is the last statement of a transaction, because others wait for its rows. They are locked in a fixed order.
    """
    changes = Counter(_count_keys(after))
    changes.subtract(_count_keys(before))
    rows = [
        {"quarter": quarter, "model": model, "rating": rating, "reason": reason, "ratings": change}
        for (quarter, model, rating, reason), change in sorted(changes.items())
        if change
    ]
    if not rows:
        return
    statement = insert(FeedbackQuarter).values(rows)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[
                FeedbackQuarter.quarter,
                FeedbackQuarter.model,
                FeedbackQuarter.rating,
                FeedbackQuarter.reason,
            ],
            set_={"ratings": FeedbackQuarter.ratings + statement.excluded.ratings},
        )
    )


def _count_keys(feedback: StoredFeedback | None) -> list[tuple[datetime, str, str, str]]:
    if feedback is None:
        return []
    quarter = feedback.created_at - (feedback.created_at - _EPOCH) % _QUARTER
    reasons = (ALL_REASONS, *(feedback.reasons or [UNSPECIFIED_REASON]))
    return [(quarter, feedback.model, feedback.rating, reason) for reason in reasons]
