"""Answers as event streams."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import Field

from app.chat.dependencies import ServicesDep
from app.chat.idempotency.header import IdempotencyKeyDep, to_response
from app.chat.idempotency.service import SerializedResponse
from app.chat.schemas.messages import ChatRequest
from app.chat.streaming.openapi import DIRECT_EVENTS, TURN_EVENTS
from app.chat.streaming.remote import MessageRef
from app.chat.streaming.response import EventStreamResponse
from app.chat.streaming.service import EventFrames
from app.http.dependencies import ChatReader, ChatUser, ChatWriter
from app.http.errors import responses

Position = Annotated[int, Field(ge=0, le=2**53)]


async def limit_open_streams(user: ChatUser, services: ServicesDep) -> AsyncIterator[None]:
    """Hold one of the caller's stream slots until the stream has ended.

    Raises:
        TooManyRequestsError: all of them are in use.

    """
    with services.stream_limiter.slot(user.id):
        yield


# `response_class=EventSourceResponse` would have the framework encode the events, with two tasks more for each stream.
router = APIRouter(dependencies=[Depends(limit_open_streams)])


@router.post("/direct/stream", response_class=Response, responses=responses(400, 409, 413) | DIRECT_EVENTS)
async def stream_direct_chat(
    question: ChatRequest, user: ChatWriter, services: ServicesDep, key: IdempotencyKeyDep
) -> Response:
    """Answer one question as an event stream. Neither it nor the answer is stored, and it cannot be resumed."""
    asked = services.questions.directly(user, question, key)
    return _streamed(await services.streaming.ask_directly(user, asked))


@router.post(
    "/sessions/{session_id}/messages/stream",
    response_class=Response,
    responses=responses(400, 404, 409, 413) | TURN_EVENTS,
)
async def stream_message(
    session_id: UUID, question: ChatRequest, user: ChatWriter, services: ServicesDep, key: IdempotencyKeyDep
) -> Response:
    """Ask a question in a session, and get the answer as an event stream while it is made.

    The answer is made and stored whether or not somebody reads it. A stream that ends without a terminal event was cut:
    resume it with the id of the last event.
    """
    asked = services.questions.in_session(user, session_id, question, key)
    return _streamed(await services.streaming.ask(user, asked))


@router.get(
    "/sessions/{session_id}/messages/{message_id}/events",
    response_class=Response,
    responses=responses(404) | TURN_EVENTS,
)
async def follow_message(
    session_id: UUID,
    message_id: UUID,
    user: ChatReader,
    services: ServicesDep,
    last_event_id: Annotated[Position | None, Header(description="Events after this one. Absent: all.")] = None,
    after: Annotated[Position | None, Query(description="The same, for clients that cannot set the header.")] = None,
) -> Response:
    """Follow an answer from where a stream was cut, or from the beginning, while it is made or afterwards.

    Some minutes after its end its pieces are not kept any more: then `message.snapshot` brings the whole at once.
    """
    position = after if last_event_id is None else last_event_id
    return EventStreamResponse(
        await services.streaming.resume(user, MessageRef(user.id, session_id, message_id), after=position)
    )


def _streamed(answer: EventFrames | SerializedResponse) -> Response:
    return to_response(answer) if isinstance(answer, SerializedResponse) else EventStreamResponse(answer)
