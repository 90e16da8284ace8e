"""Data of the events of a stream."""

from uuid import UUID

from pydantic import Field

from app.chat.schemas.messages import MessageResponse
from app.core.types import ResponseModel


class MessageCreatedEvent(ResponseModel):
    """`message.created`: the question is stored, the answer is being made."""

    session_id: UUID
    message_id: UUID = Field(description="Of the answer: resume and stop by it.")
    user_message: MessageResponse


class DirectCreatedEvent(ResponseModel):
    """`message.created` of a direct question."""

    message_id: UUID


class MessageDeltaEvent(ResponseModel):
    """`message.delta`: the next piece of the answer."""

    text: str


class MessageEndedEvent(ResponseModel):
    """`message.completed` and `message.cancelled`: the last event."""

    message: MessageResponse
    length: int = Field(description="Characters (Unicode code points) of the content.")
    sha256: str = Field(description="Of the content in UTF-8, in hexadecimal.")


class MessageFailedEvent(MessageEndedEvent):
    """`message.failed`: the last event. The content is as much as there is."""

    code: str = Field(description="Stable code of the reason.")


class MessageSnapshotEvent(ResponseModel):
    """`message.snapshot`: the whole answer, in the place of all deltas. The last event follows."""

    message: MessageResponse
