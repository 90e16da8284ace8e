"""Feedback of users on the answers of their sessions."""

from dataclasses import dataclass

from app.chat.schemas.feedback import FeedbackRequest, FeedbackResponse
from app.chat.streaming.remote import MessageRef
from app.core.exceptions import ConflictError, NotFoundError, UnprocessableError
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.chat import feedback
from app.database.repositories.chat.feedback import LockedMessage, NewFeedback, StoredFeedback
from app.database.repositories.webhooks import event_outbox
from app.database.repositories.webhooks.event_outbox import WebhookEvent
from app.services.turn_end_polling import ACTIVE_STATUSES


@dataclass(frozen=True, slots=True)
class FeedbackService:
    """Stores, changes and withdraws feedback, with its counts and its event in the same transaction."""

    database: Database

    async def store(self, user: Principal, ref: MessageRef, request: FeedbackRequest) -> FeedbackResponse:
        """Store the feedback on an answer, or replace it. The same feedback again changes nothing.

        Raises:
            NotFoundError: the user has no such message.
            UnprocessableError: the message is a question.
            ConflictError: the answer is in progress.

        """
        new = NewFeedback(request.rating, sorted(request.reasons), request.comment)
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as transaction:
            message = await _lock_answer(transaction, ref)
            before = await feedback.find(transaction, message)
            if before and (before.rating, before.reasons, before.comment) == (new.rating, new.reasons, new.comment):
                return FeedbackResponse.model_validate(before)
            after = await feedback.store(transaction, message, new, user_id=user.id, message_uuid=ref.answer_uuid)
            await _record_change(transaction, user, ref, before=before, after=after)
        return FeedbackResponse.model_validate(after)

    async def withdraw(self, user: Principal, ref: MessageRef) -> None:
        """Delete the feedback on an answer, if there is any.

        Raises:
            NotFoundError, UnprocessableError, ConflictError: as `store`.

        """
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as transaction:
            message = await _lock_answer(transaction, ref)
            before = await feedback.find(transaction, message)
            if before is not None:
                await feedback.remove(transaction, message)
                await _record_change(transaction, user, ref, before=before, after=None)


async def _lock_answer(transaction: DatabaseSession, ref: MessageRef) -> LockedMessage:
    message = await feedback.lock_message(
        transaction, user_id=ref.user_id, session_uuid=ref.session_uuid, message_uuid=ref.answer_uuid
    )
    if message is None:
        raise NotFoundError("Message not found.")
    if message.role != "assistant":
        raise UnprocessableError("Only answers can be rated.", code="not_an_answer")
    if message.status in ACTIVE_STATUSES:
        raise ConflictError(
            "The answer is still being generated.", code="turn_active", extra={"message_id": str(ref.answer_uuid)}
        )
    return message


async def _record_change(
    transaction: DatabaseSession,
    user: Principal,
    ref: MessageRef,
    *,
    before: StoredFeedback | None,
    after: StoredFeedback | None,
) -> None:
    data = {
        "message_id": str(ref.answer_uuid),
        "session_id": str(ref.session_uuid),
        "user_id": str(user.uuid),
        "rating": after.rating if after else None,
        "previous_rating": before.rating if before else None,
        "reasons": after.reasons if after else [],
        "has_comment": after is not None and after.comment is not None,
    }
    await event_outbox.emit(transaction, WebhookEvent("feedback.changed", data, user_id=user.id))
    await feedback.count_change(transaction, before=before, after=after)
