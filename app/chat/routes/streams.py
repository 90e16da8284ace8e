"""Questions answered as event streams, and resumed streams."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import Field

from app.chat.dependencies import ServicesDep
from app.chat.http_responses import to_response
from app.chat.idempotency.header import IdempotencyKeyDep
from app.chat.schemas.messages import AnswerCreate, ChatRequest, MessageCreate
from app.chat.streaming.openapi import DIRECT_EVENTS, TURN_EVENTS
from app.chat.streaming.remote import MessageRef
from app.core.exceptions import BadRequestError
from app.core.schema_types import ResponseModel
from app.http.authentication import ChatReader, ChatUser, ChatWriter
from app.http.errors import responses

Position = Annotated[int, Field(ge=0, le=2**53)]


async def _wants_reasoning(
    *, reasoning: Annotated[bool, Query(description="Whether the stream has `message.reasoning` events.")] = False
) -> bool:
    return reasoning


async def _start_position(
    last_event_id: Annotated[
        Position | None, Header(description="Id of an event, a position in characters: events after it. Absent: all.")
    ] = None,
    after: Annotated[
        Position | None,
        Query(description="As `Last-Event-ID`, a position in characters, for clients that cannot set the header."),
    ] = None,
) -> int | None:
    return after if last_event_id is None else last_event_id


async def get_resume_position(
    key: IdempotencyKeyDep,
    last_event_id: Annotated[
        Position | None,
        Header(
            description="With the `Idempotency-Key` of an earlier request: its stream continues after the event "
            "with this id, a position in characters, and nothing is asked again."
        ),
    ] = None,
) -> int | None:
    """Return the position after which a request resumes the stream of the first request with its key.

    None: it asks a question.

    Raises:
        BadRequestError: it has no key. Answering it as a new question would answer and bill twice.

    """
    if last_event_id is not None and key is None:
        raise BadRequestError(
            "Last-Event-ID resumes a POST only with the Idempotency-Key of the first request. Without one, resume with "
            "GET .../messages/{message_id}/events.",
            code="use_events_to_resume",
        )
    return last_event_id


ResumePosition = Annotated[int | None, Depends(get_resume_position)]
WithReasoning = Annotated[bool, Depends(_wants_reasoning)]
StartPosition = Annotated[int | None, Depends(_start_position)]


async def limit_open_streams(user: ChatUser, services: ServicesDep) -> AsyncIterator[None]:
    """Count the stream against the user's limit until it ends.

    Raises:
        TooManyRequestsError: the user has too many open streams.

    """
    with services.stream_limiter.slot(user.id):
        yield


# `response_class=EventSourceResponse` would let the framework encode the events, with two more tasks per stream.
router = APIRouter(dependencies=[Depends(limit_open_streams)])


@router.post(
    "/direct/stream",
    response_class=Response,
    response_model=None,
    responses=responses(400, 404, 409, 413) | DIRECT_EVENTS,
)
async def stream_direct_chat(
    question: ChatRequest,
    user: ChatWriter,
    services: ServicesDep,
    key: IdempotencyKeyDep,
    with_reasoning: WithReasoning,
    after: ResumePosition,
) -> ResponseModel | Response:
    """Answer one question without a session, as an event stream. PostgreSQL stores it only with an `Idempotency-Key`.

    It can be resumed with its `Idempotency-Key`, while it is answered only in the process that answers it.
    """
    asked = services.questions.direct(user, question, key)
    return to_response(await services.turns.ask(asked, stream=True, with_reasoning=with_reasoning, after=after))


@router.post(
    "/sessions/{session_id}/messages/stream",
    response_class=Response,
    response_model=None,
    responses=responses(400, 404, 409, 413) | TURN_EVENTS,
)
async def stream_message(  # noqa: PLR0913, PLR0917 - each is a part of the request
    session_id: UUID,
    question: MessageCreate,
    user: ChatWriter,
    services: ServicesDep,
    key: IdempotencyKeyDep,
    with_reasoning: WithReasoning,
    after: ResumePosition,
) -> ResponseModel | Response:
    """Ask a question in a session, and get the answer as an event stream while it is generated.

    The answer is completed and stored even if the client disconnects. A stream that ends without a terminal event was
    interrupted: resume it with the id of the last event.
    """
    asked = services.questions.in_session(user, session_id, question, key)
    return to_response(await services.turns.ask(asked, stream=True, with_reasoning=with_reasoning, after=after))


@router.post(
    "/sessions/{session_id}/messages/{message_id}/regenerate/stream",
    response_class=Response,
    response_model=None,
    responses=responses(400, 404, 409, 413) | TURN_EVENTS,
)
async def stream_regenerated_answer(  # noqa: PLR0913, PLR0917 - each is a part of the request
    session_id: UUID,
    message_id: UUID,
    user: ChatWriter,
    services: ServicesDep,
    key: IdempotencyKeyDep,
    with_reasoning: WithReasoning,
    after: ResumePosition,
    options: AnswerCreate | None = None,
) -> ResponseModel | Response:
    """Answer a question once more, and get the answer as an event stream while it is generated."""
    stored = await services.branches.find_question(user.id, session_id, message_id)
    asked = services.questions.another_answer(user, session_id, stored, options or AnswerCreate(), key)
    return to_response(await services.turns.ask(asked, stream=True, with_reasoning=with_reasoning, after=after))


@router.get(
    "/sessions/{session_id}/messages/{message_id}/events",
    response_class=Response,
    response_model=None,
    responses=responses(404) | TURN_EVENTS,
)
async def follow_message(
    session_id: UUID,
    message_id: UUID,
    user: ChatReader,
    services: ServicesDep,
    position: StartPosition,
    with_reasoning: WithReasoning,
) -> ResponseModel | Response:
    """Resume the event stream of an answer after a position, or read it from the beginning, in progress or complete.

    Some minutes after the end of an answer its events are deleted: then `message.snapshot` carries the whole answer.
    """
    ref = MessageRef(user.id, session_id, message_id)
    return to_response(await services.streaming.resume(user, ref, after=position, with_reasoning=with_reasoning))
