"""Routes of the OpenAI-compatible API under `/v1`."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response

from app.chat.dependencies import ServicesDep
from app.chat.http_responses import to_response
from app.chat.idempotency.header import KeyHeader, identify_request
from app.chat.openai_api.schemas import ChatCompletion, ChatCompletionRequest, CompletionModel, CompletionModelList
from app.core.exceptions import InvalidFieldError, UnsupportedMediaTypeError
from app.database.repositories.turns.idempotency_keys import IdempotentRequest
from app.http.authentication import CompletionsUser, require_scope
from app.http.errors import PROBLEM_JSON, responses

SESSION_HEADER = "X-Session-ID"


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/OpenAIProblem"}}}
    return {status: description | {"content": content} for status, description in responses(*statuses).items()}


router = APIRouter(responses=_responses(400, 401, 403, 429, 503))

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with `stream`, chunks of it, the last of which is followed by `[DONE]`. A stream "
        "that fails ends with an object that has the member `error`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


async def require_json(request: Request) -> None:
    """Check the media type of the body.

    Raises:
        UnsupportedMediaTypeError: it is not JSON.

    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not re.fullmatch(r"application/([\w.+-]+\+)?json", media_type):
        raise UnsupportedMediaTypeError


async def get_body(body: ChatCompletionRequest) -> ChatCompletionRequest:
    """Return the body, which is validated once for all dependencies."""
    return body


Body = Annotated[ChatCompletionRequest, Depends(get_body)]


async def limit_open_answers(body: Body, user: CompletionsUser, services: ServicesDep) -> AsyncIterator[None]:
    """Count an answer against the user's limit of streams, or of questions without event stream, until it ends.

    Raises:
        TooManyRequestsError: the user waits for too many answers.
        OverloadedError: too many clients of this process wait for answers.

    """
    limiter = services.stream_limiter if body.stream else services.question_limiter
    with limiter.slot(user.id):
        yield


async def get_session_id(
    body: Body,
    user: CompletionsUser,
    header: Annotated[
        str | None,
        Header(
            alias=SESSION_HEADER,
            json_schema_extra={"format": "uuid"},
            description="A session that question and answer are stored in, as `metadata.session_id`. Requires the "
            "scope `chat:write` besides.",
        ),
    ] = None,
) -> UUID | None:
    """Return the session in which the request stores its question. None: nothing is stored.

    Raises:
        InvalidFieldError: the id is not a UUID, or header and metadata name different sessions.
        ForbiddenError: the API key lacks the scope `chat:write`.

    """
    named = {"metadata.session_id": (body.metadata or {}).get("session_id"), SESSION_HEADER: header}
    ids = {_session_id(name, value) for name, value in named.items() if value is not None}
    if len(ids) > 1:
        raise InvalidFieldError("body.metadata.session_id", "ambiguous", f"differs from the header {SESSION_HEADER}")
    if ids:
        require_scope(user, "chat:write")
    return next(iter(ids), None)


def _session_id(name: str, value: object) -> UUID:
    try:
        return UUID(value) if isinstance(value, str) else UUID(int=-1)
    except ValueError:
        raise InvalidFieldError(f"body.{name}", "uuid_parsing", "must be a UUID") from None


SessionId = Annotated[UUID | None, Depends(get_session_id)]


async def get_key(
    request: Request, user: CompletionsUser, session: SessionId, key: KeyHeader = None
) -> IdempotentRequest | None:
    """Return the idempotency key of the request. The session may be in a header, so that it is a part of the request.

    Raises:
        InvalidFieldError: see `identify_request`.

    """
    return await identify_request(request, user, key, variant=str(session or ""))


Key = Annotated[IdempotentRequest | None, Depends(get_key)]


@router.get("/models")
async def list_completion_models(_user: CompletionsUser, services: ServicesDep) -> CompletionModelList:
    """List the models that a request may name, the default one first."""
    return services.completions.questions.models()


@router.get("/models/{model_id:path}", responses=_responses(404))
async def get_completion_model(model_id: str, _user: CompletionsUser, services: ServicesDep) -> CompletionModel:
    """Get one model."""
    return services.completions.questions.model(model_id)


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses=_responses(404, 409, 413, 415, 502, 504) | _STREAM,
    dependencies=[Depends(require_json), Depends(limit_open_answers)],
)
async def create_chat_completion(
    request: Request, body: Body, user: CompletionsUser, services: ServicesDep, session: SessionId, key: Key
) -> Response:
    """Continue a conversation. Without a session or an `Idempotency-Key`, only the ledger is stored.

    If the client disconnects, the answer is cancelled. With a session or an `Idempotency-Key` it is completed, and a
    request that is repeated with the same key gets it.
    """

    async def wait_for_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answer = services.completions.stream if body.stream else services.completions.complete
    return to_response(await answer(user, body, session, key, wait_for_disconnect=wait_for_disconnect))
