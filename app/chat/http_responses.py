"""HTTP responses for the results of the chat services."""

from typing import TypeVar

from fastapi import Response

from app.chat.idempotency.serialized_response import SerializedResponse
from app.chat.streaming.response import EventStreamResponse
from app.chat.streaming.resume import EventFrames
from app.core.schema_types import ResponseModel

M = TypeVar("M", bound=ResponseModel)


def to_response(result: M | SerializedResponse | EventFrames) -> M | Response:
    """Return an HTTP response: models are returned for the framework to serialize, other results are converted."""
    if isinstance(result, ResponseModel):
        return result
    if isinstance(result, SerializedResponse):
        # As a header, because Starlette would add a charset to the media type of an event stream.
        headers = {"Content-Type": result.media_type} | ({"Idempotent-Replayed": "true"} if result.is_replay else {})
        return Response(result.body, result.status_code, headers)
    return EventStreamResponse(result)
