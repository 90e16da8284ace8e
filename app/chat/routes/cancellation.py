"""Cancellation of an answer in progress."""

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Response

from app.chat.dependencies import ServicesDep
from app.chat.schemas.messages import MessageResponse
from app.chat.streaming.remote import MessageRef
from app.http.authentication import ChatWriter
from app.http.errors import responses

router = APIRouter()


@router.post(
    "/sessions/{session_id}/messages/{message_id}/cancel",
    responses=responses(404)
    | {202: {"model": MessageResponse, "description": "Cancellation was requested, the answer has not stopped yet."}},
)
async def cancel_message(
    session_id: UUID, message_id: UUID, user: ChatWriter, services: ServicesDep, response: Response
) -> MessageResponse:
    """Cancel an answer in progress. Its text so far is stored with the status `cancelled`.

    The response is sent when the answer has stopped, or after 6 s with the status 202. An answer that has already ended
    is returned unchanged.
    """
    message = await services.cancellation.cancel(MessageRef(user.id, session_id, message_id))
    if message.status in {"pending", "streaming"}:
        response.status_code = HTTPStatus.ACCEPTED
    return message
