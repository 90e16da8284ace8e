"""Request and response schemas of session administration."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from app.core.schema_types import (
    Instant,
    NotBlank,
    Page,
    PageSize,
    Pagination,
    RequestModel,
    ResponseModel,
    Storable,
    Usd,
)
from app.database.repositories.turns.turns import MessageStatus
from app.services.usage_schemas import Usage

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200), Storable, NotBlank]


class SessionQuery(RequestModel):
    """Filters and page of a session list. Omitted filters match all sessions."""

    page: Page = 1
    size: PageSize = 20
    user: UUID | None = Field(None, description="Account that owns the session.")
    from_: Instant | None = Field(
        None, alias="from", description="Sessions created at this time or later.", examples=["2026-11-01T00:00:00Z"]
    )
    to: Instant | None = Field(None, description="Sessions created before this time.")
    is_archived: bool | None = Field(None, description="Whether the owner has archived the session.")
    is_running: bool | None = Field(None, description="Whether an answer is being generated.")


class SessionFacts(ResponseModel):
    """Session without its text."""

    session_id: UUID
    user_id: UUID
    created_at: datetime
    updated_at: datetime
    message_count: int
    last_message_timestamp: datetime | None
    is_archived: bool = Field(description="Whether the owner has archived the session.")
    running_message_id: UUID | None = Field(description="Answer that is being generated.")


class SessionPage(ResponseModel):
    """Page of sessions, newest first."""

    sessions: list[SessionFacts]
    pagination: Pagination


class MessageQuery(RequestModel):
    """Part of the messages of a session."""

    before: UUID | None = Field(None, description="Return the messages before this one. Default: the newest messages.")
    limit: int = Field(200, ge=1, le=200, description="Maximum number of messages.")


class MessageInfo(ResponseModel):
    """Message without its text."""

    id: UUID
    role: Literal["user", "assistant"]
    status: MessageStatus
    created_at: datetime
    updated_at: datetime
    parent_id: UUID | None = Field(
        description="For an answer, its question. For a question, the message that it follows; null: a first question. "
        "Messages with the same parent and role are versions of each other."
    )
    tokens_used: int
    processing_time_ms: int
    model: str | None = Field(description="Model that answered.")
    error: str | None = Field(description="Error code, if the answer is missing or incomplete.")
    cost_usd: Usd | None = Field(description="Null: the price is not known, or the message is a question.")
    is_on_active_branch: bool = Field(description="Whether it is on the branch that the owner sees.")


class SessionInfo(SessionFacts):
    """Session with messages of all branches, in the order of their creation, without their text."""

    usage: Usage
    messages: list[MessageInfo]
    has_older: bool = Field(description="Whether the session has messages before these: see `before`.")


class SessionReading(RequestModel):
    """Reason for reading the text of a session, and the messages to return."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "Ticket 1234: the owner reports an incomplete answer", "limit": 50}]}
    )

    reason: Reason = Field(
        examples=["Ticket 1234: the owner reports an incomplete answer"],
        description="Stored permanently in the audit log, and in the owner's export. Must not contain personal data.",
    )
    before: UUID | None = Field(None, description="Return the messages before this one. Default: the newest messages.")
    limit: int = Field(50, strict=True, ge=1, le=200, examples=[50], description="Maximum number of messages.")


class FeedbackText(ResponseModel):
    """Feedback of the owner on an answer."""

    rating: Literal["up", "down"]
    reasons: list[str]
    comment: str | None


class MessageText(ResponseModel):
    """Message with its text."""

    id: UUID
    role: Literal["user", "assistant"]
    status: MessageStatus
    timestamp: datetime
    content: str
    metadata: dict[str, Any]
    feedback: FeedbackText | None


class SessionText(ResponseModel):
    """Text of a session. Messages are ordered from oldest to newest."""

    session_id: UUID
    user_id: UUID
    title: str
    context: dict[str, Any]
    summary: str | None = Field(description="Conversation summary of messages that are no longer sent to the model.")
    messages: list[MessageText]


class StoppedMessage(ResponseModel):
    """Status of an answer after a cancellation."""

    message_id: UUID
    status: MessageStatus = Field(
        description="`pending`: it has not stopped yet. If its process was killed, it becomes `interrupted` soon."
    )


class Confirmation(ResponseModel):
    """Confirmation of a completed operation."""

    message: str
