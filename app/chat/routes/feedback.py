"""Feedback on answers."""

from uuid import UUID

from fastapi import APIRouter

from app.chat.dependencies import ServicesDep
from app.chat.schemas.feedback import FeedbackRequest, FeedbackResponse
from app.chat.schemas.sessions import Deleted
from app.chat.streaming.remote import MessageRef
from app.http.authentication import ChatWriter
from app.http.errors import responses

router = APIRouter(responses=responses(404, 409))


@router.put("/sessions/{session_id}/messages/{message_id}/feedback", responses=responses(400, 413))
async def store_feedback(
    session_id: UUID, message_id: UUID, feedback: FeedbackRequest, user: ChatWriter, services: ServicesDep
) -> FeedbackResponse:
    """Rate an answer that is not under way any more. Earlier feedback on the answer is replaced."""
    return await services.feedback.store(user, MessageRef(user.id, session_id, message_id), feedback)


@router.delete("/sessions/{session_id}/messages/{message_id}/feedback")
async def withdraw_feedback(session_id: UUID, message_id: UUID, user: ChatWriter, services: ServicesDep) -> Deleted:
    """Withdraw the feedback on an answer. Without feedback nothing changes."""
    await services.feedback.withdraw(user, MessageRef(user.id, session_id, message_id))
    return Deleted(message="Feedback withdrawn.")
