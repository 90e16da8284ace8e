"""Questions answered in one response, in a session or direct."""

from uuid import UUID

from fastapi import APIRouter, Response

from app.chat.dependencies import ServicesDep
from app.chat.http_responses import to_response
from app.chat.idempotency.header import IdempotencyKeyDep
from app.chat.schemas.messages import AnswerCreate, ChatRequest, DirectResponse, MessageCreate, TurnResponse
from app.core.schema_types import ResponseModel
from app.http.authentication import ChatWriter
from app.http.errors import responses

router = APIRouter()


@router.post("/direct", response_model=DirectResponse, responses=responses(400, 409, 413))
async def direct_chat(
    question: ChatRequest, user: ChatWriter, services: ServicesDep, key: IdempotencyKeyDep
) -> ResponseModel | Response:
    """Answer one question without a session. PostgreSQL stores the response only with an `Idempotency-Key`.

    If no model answers, `status` is `failed`, `response` is the fallback message, and `metadata` has the error code.
    """
    asked = services.questions.direct(user, question, key)
    return to_response(await services.turns.ask(asked, stream=False))


@router.post("/sessions/{session_id}/messages", response_model=TurnResponse, responses=responses(400, 404, 409, 413))
async def send_message(
    session_id: UUID, question: MessageCreate, user: ChatWriter, services: ServicesDep, key: IdempotencyKeyDep
) -> ResponseModel | Response:
    """Ask a question in a session. The last messages of its branch are sent to the model with it.

    If no model answers, `ai_response.status` is `failed` and its metadata has `fallback` and the error code. While a
    question is being answered, another one gets 409 with the `message_id` of the answer in progress.
    """
    asked = services.questions.in_session(user, session_id, question, key)
    return to_response(await services.turns.ask(asked, stream=False))


@router.post(
    "/sessions/{session_id}/messages/{message_id}/regenerate",
    response_model=TurnResponse,
    responses=responses(400, 404, 409, 413),
)
async def regenerate_answer(
    session_id: UUID,
    message_id: UUID,
    user: ChatWriter,
    services: ServicesDep,
    key: IdempotencyKeyDep,
    options: AnswerCreate | None = None,
) -> ResponseModel | Response:
    """Answer a question once more, with another model or other parameters if wanted.

    `message_id` is the question, or one of its answers. The new answer becomes part of the active branch; the earlier
    ones and what follows them are kept, see `PUT /sessions/{session_id}/active`.
    """
    stored = await services.branches.find_question(user.id, session_id, message_id)
    asked = services.questions.another_answer(user, session_id, stored, options or AnswerCreate(), key)
    return to_response(await services.turns.ask(asked, stream=False))
