"""Routes of the OpenAI-compatible API under `/v1`."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response

from app.chat.dependencies import ServicesDep
from app.chat.http_responses import to_response
from app.chat.idempotency.header import KeyHeader, identify_request
from app.chat.openai_api.schemas import ChatCompletion, ChatCompletionRequest, CompletionModel, CompletionModelList
from app.core.exceptions import InvalidFieldError, UnsupportedMediaTypeError
from app.database.repositories.accounts.callers import Principal
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


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """A request for a chat completion, with its caller, session and idempotency key."""

    body: ChatCompletionRequest
    user: Principal
    session: UUID | None
    """The session in which the request stores its question. None: nothing is stored."""
    key: IdempotentRequest | None


async def open_call(
    request: Request,
    body: ChatCompletionRequest,
    user: CompletionsUser,
    services: ServicesDep,
    session_header: Annotated[
        str | None,
        Header(
            alias=SESSION_HEADER,
            json_schema_extra={"format": "uuid"},
            description="A session that question and answer are stored in, as `metadata.session_id`. Requires the "
            "scope `chat:write` besides.",
        ),
    ] = None,
    key: KeyHeader = None,
) -> AsyncIterator[CompletionCall]:
    """Return the call, and count it against the user's limit of streams, or of other questions, until it ends.

    One dependency, because FastAPI validates the body again for each dependency that takes it.

    Raises:
        TooManyRequestsError: the user waits for too many answers.
        OverloadedError: too many clients of this process wait for answers.
        InvalidFieldError: the session id is not a UUID, or header and metadata name different sessions; or see
            `identify_request`.
        ForbiddenError: the API key lacks the scope `chat:write`.

    """
    limiter = services.stream_limiter if body.stream else services.question_limiter
    with limiter.slot(user.id):
        session = _find_session_id(body, session_header)
        if session is not None:
            require_scope(user, "chat:write")
        # The session may be in a header, so that it is a part of the request.
        yield CompletionCall(
            body, user, session, await identify_request(request, user, key, variant=str(session or ""))
        )


def _find_session_id(body: ChatCompletionRequest, header: str | None) -> UUID | None:
    named = {"metadata.session_id": (body.metadata or {}).get("session_id"), SESSION_HEADER: header}
    ids = {_session_id(name, value) for name, value in named.items() if value is not None}
    if len(ids) > 1:
        raise InvalidFieldError("body.metadata.session_id", "ambiguous", f"differs from the header {SESSION_HEADER}")
    return next(iter(ids), None)


def _session_id(name: str, value: object) -> UUID:
    try:
        return UUID(value) if isinstance(value, str) else UUID(int=-1)
    except ValueError:
        raise InvalidFieldError(f"body.{name}", "uuid_parsing", "must be a UUID") from None


Call = Annotated[CompletionCall, Depends(open_call)]


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
    dependencies=[Depends(require_json)],
)
async def create_chat_completion(request: Request, call: Call, services: ServicesDep) -> Response:
    """Continue a conversation. Without a session or an `Idempotency-Key`, PostgreSQL stores only the ledger.

    If the client disconnects, the answer is cancelled. With a session or an `Idempotency-Key` it is completed, and a
    request that is repeated with the same key gets it.
    """

    async def wait_for_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answer = services.completions.stream if call.body.stream else services.completions.complete
    return to_response(
        await answer(call.user, call.body, call.session, call.key, wait_for_disconnect=wait_for_disconnect)
    )
