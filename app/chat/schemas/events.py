"""Data of the events of a stream."""

from uuid import UUID

from pydantic import Field

from app.chat.schemas.messages import MessageResponse
from app.core.schema_types import ResponseModel


class MessageCreatedEvent(ResponseModel):
    """`message.created`: the question is stored, and the answer is in progress."""

    session_id: UUID = Field(description="Session.")
    message_id: UUID = Field(description="Id of the answer. Use it to resume the stream or to cancel the answer.")
    user_message: MessageResponse = Field(description="The stored question.")


class DirectCreatedEvent(ResponseModel):
    """`message.created` of a direct question."""

    message_id: UUID = Field(description="Id of the answer.")


class SessionTitleEvent(ResponseModel):
    """`session.title`: title of the session that the user has not written, or that has changed meanwhile."""

    session_id: UUID = Field(description="Session that has the title.")
    title: str = Field(description="The current title.")


class MessageDeltaEvent(ResponseModel):
    """`message.delta`: the next piece of text."""

    text: str = Field(description="The next part of the content.")


class MessageReasoningEvent(ResponseModel):
    """`message.reasoning`: what the model thinks before the answer, for clients that ask for it.

    It is not a part of the answer. A complete answer has it in its metadata, as `reasoning`.
    """

    text: str = Field(description="The next part of the reasoning.")


class MessageEndedEvent(ResponseModel):
    """`message.completed` and `message.cancelled`: terminal events."""

    message: MessageResponse = Field(description="The answer.")
    length: int = Field(description="Length of the content in Unicode code points.")
    sha256: str = Field(description="SHA-256 of the content in UTF-8, hexadecimal.")


class MessageFailedEvent(MessageEndedEvent):
    """`message.failed`: terminal event. Without text, the content is the fallback message, or none if interrupted."""

    code: str = Field(description="Stable error code.")


class MessageSnapshotEvent(ResponseModel):
    """`message.snapshot`: the whole answer instead of deltas. The terminal event follows."""

    message: MessageResponse = Field(description="The answer with its whole content so far.")
