"""Encoded events of an answer's stream.

The id of an event is a position: the number of characters of the answer that a client has after reading the event.
The terminal event has the position length + 1.
"""

import hashlib
from json.encoder import encode_basestring
from uuid import UUID

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from app.chat.schemas.events import (
    DirectCreatedEvent,
    MessageCreatedEvent,
    MessageEndedEvent,
    MessageFailedEvent,
    MessageReasoningEvent,
    MessageSnapshotEvent,
    SessionTitleEvent,
)
from app.chat.schemas.messages import MessageResponse
from app.chat.streaming.answer_text import Ending
from app.core.schema_types import ResponseModel

PING = KEEPALIVE_COMMENT
_RETRY = 1000
"""Milliseconds after which clients reconnect, in the first event of a stream."""


def created(session_id: UUID, message_id: UUID, user_message: MessageResponse) -> bytes:
    """Return the first event of an answer in a session."""
    return _event(
        "message.created",
        0,
        MessageCreatedEvent(session_id=session_id, message_id=message_id, user_message=user_message),
        retry=_RETRY,
    )


def direct_created(message_id: UUID) -> bytes:
    """Return the first event of the answer to a direct question."""
    return _event("message.created", 0, DirectCreatedEvent(message_id=message_id), retry=_RETRY)


def session_title(session_id: UUID, title: str, position: int) -> bytes:
    """Return the event of the title of the session, for a client that has read up to a position."""
    return _event("session.title", position, SessionTitleEvent(session_id=session_id, title=title))


def delta(text: str, position: int) -> bytes:
    """Return the event of a piece of text that ends at a position."""
    # Called for every token: `json.dumps` would create an encoder each time.
    return f'event: message.delta\ndata: {{"text": {encode_basestring(text)}}}\nid: {position}\n\n'.encode()


def reasoning(text: str, position: int) -> bytes:
    """Return the event of a piece of reasoning, for a client that has read the answer up to a position."""
    return _event("message.reasoning", position, MessageReasoningEvent(text=text))


def ending(end: Ending, position: int) -> bytes:
    """Return the terminal event for a client that has read up to a position.

    If the position is not the end of the stored text, a `message.snapshot` event with the whole text precedes it.
    """
    message = end.message
    length = len(message.content)
    digest = hashlib.sha256(message.content.encode()).hexdigest()
    match message.status:
        case "complete":
            terminal = "message.completed"
        case "cancelled":
            terminal = "message.cancelled"
        case _:
            terminal = "message.failed"
    data = (
        MessageFailedEvent(message=message, length=length, sha256=digest, code=end.code or "internal_error")
        if terminal == "message.failed"
        else MessageEndedEvent(message=message, length=length, sha256=digest)
    )
    event = _event(terminal, length + 1, data)
    if position in {length, length + 1}:
        return event
    return _event("message.snapshot", length, MessageSnapshotEvent(message=message)) + event


def _event(name: str, position: int, data: ResponseModel, *, retry: int | None = None) -> bytes:
    return format_sse_event(event=name, data_str=data.model_dump_json(), id=str(position), retry=retry)
