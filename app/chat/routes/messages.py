"""Questions that are answered in one piece, and answers that are stopped."""

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Response

from app.chat.dependencies import ServicesDep
from app.chat.idempotency.header import IdempotencyKeyDep, to_response
from app.chat.schemas.messages import ChatRequest, DirectResponse, MessageResponse, TurnResponse
from app.chat.streaming.remote import MessageRef
from app.http.dependencies import ChatWriter
from app.http.errors import responses

router = APIRouter()


@router.post("/direct", response_model=DirectResponse, responses=responses(400, 409, 413))
async def direct_chat(
    question: ChatRequest, user: ChatWriter, services: ServicesDep, key: IdempotencyKeyDep
) -> DirectResponse | Response:
    """Answer one question. Neither it nor the answer is stored.

    Where no model answers, `status` is `failed`, `response` says so politely, and `metadata` has the code.
    """
    return to_response(await services.sessions.answer_directly(user, question, key))


@router.post("/sessions/{session_id}/messages", response_model=TurnResponse, responses=responses(400, 404, 409, 413))
async def send_message(
    session_id: UUID, question: ChatRequest, user: ChatWriter, services: ServicesDep, key: IdempotencyKeyDep
) -> TurnResponse | Response:
    """Ask a question in a session; the last messages of the session go to the model with it.

    Where no model answers, `ai_response.status` is `failed` and its metadata has `fallback` and the code. While a
    question is being answered another one gets 409 with the `message_id` of the answer under way.
    """
    return to_response(await services.sessions.ask(user, session_id, question, key))


@router.post(
    "/sessions/{session_id}/messages/{message_id}/cancel",
    responses=responses(404) | {202: {"model": MessageResponse, "description": "Noted, but not stopped yet."}},
)
async def cancel_message(
    session_id: UUID, message_id: UUID, user: ChatWriter, services: ServicesDep, response: Response
) -> MessageResponse:
    """Stop an answer that is being made. What it has said so far is kept, with the status `cancelled`.

    The response comes when it has really stopped. An answer that has ended already is left, and returned, as it is.
    """
    message = await services.cancellation.stop(MessageRef(user.id, session_id, message_id))
    if message.status in {"pending", "streaming"}:
        response.status_code = HTTPStatus.ACCEPTED
    return message
