"""Request and response schemas of session administration."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from app.core.schema_types import (
    DisplayText,
    Instant,
    Integral,
    NotBlank,
    Page,
    PageSize,
    Pagination,
    RequestModel,
    ResponseModel,
    Usd,
)
from app.database.repositories.turns.turns import MessageStatus
from app.services.usage_schemas import Usage

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200), DisplayText, NotBlank]


class SessionQuery(RequestModel):
    """Filters and page of a session list. Omitted filters match all sessions."""

    page: Page = Field(1, description="Number of the page, from 1.")
    size: PageSize = Field(20, description="Number of items per page.")
    user: UUID | None = Field(None, description="Account that owns the session.")
    from_: Instant | None = Field(
        None, alias="from", description="Sessions created at this time or later.", examples=["2026-11-01T00:00:00Z"]
    )
    to: Instant | None = Field(None, description="Sessions created before this time.")
    is_archived: bool | None = Field(None, description="Whether the owner has archived the session.")
    is_running: bool | None = Field(None, description="Whether an answer is being generated.")


class SessionFacts(ResponseModel):
    """Session without its text."""

    session_id: UUID = Field(description="Session.")
    user_id: UUID = Field(description="Account that owns the session.")
    created_at: datetime = Field(description="Time of creation.")
    updated_at: datetime = Field(description="Time of the last question or answer; without one, of the creation.")
    message_count: int = Field(description="Number of messages of all branches.")
    last_message_timestamp: datetime | None = Field(
        description="Time of the last message of the active branch. Null: no messages."
    )
    is_archived: bool = Field(description="Whether the owner has archived the session.")
    running_message_id: UUID | None = Field(description="Answer that is being generated.")


class SessionPage(ResponseModel):
    """Page of sessions, newest first."""

    sessions: list[SessionFacts] = Field(description="Sessions of the page.")
    pagination: Pagination = Field(description="Position of the page.")


class MessageQuery(RequestModel):
    """Part of the messages of a session."""

    before: UUID | None = Field(None, description="Return the messages before this one. Default: the newest messages.")
    limit: int = Field(200, ge=1, le=200, description="Maximum number of messages.")


class MessageInfo(ResponseModel):
    """Message without its text."""

    id: UUID = Field(description="Public id.")
    role: Literal["user", "assistant"] = Field(description="`user`: a question; `assistant`: an answer.")
    status: MessageStatus = Field(description="Status of the message.")
    created_at: datetime = Field(
        description="Time of the question, or of the request for another answer. Copies and imports keep their times."
    )
    updated_at: datetime = Field(description="Time when the answer ended; otherwise `created_at`.")
    parent_id: UUID | None = Field(
        description="For an answer, its question. For a question, the message that it follows; null: a first question. "
        "Messages with the same parent and role are versions of each other."
    )
    tokens_used: int = Field(description="Prompt and completion tokens of all attempts; 0 for a question.")
    processing_time_ms: int = Field(
        description="Duration of all attempts and of the pauses before them, in milliseconds; 0 for a question."
    )
    model: str | None = Field(description="Model that answered.")
    error: str | None = Field(description="Error code, if the answer is missing or incomplete.")
    cost_usd: Usd | None = Field(
        description="Cost in US dollars. Null: not known, as of a pending or imported answer, or it is a question."
    )
    is_on_active_branch: bool = Field(description="Whether it is on the branch that the owner sees.")


class SessionInfo(SessionFacts):
    """Session with messages of all branches, in the order of their creation, without their text."""

    usage: Usage = Field(description="Usage of the session.")
    messages: list[MessageInfo] = Field(description="Messages, oldest first.")
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
    limit: Annotated[int, Field(strict=True, ge=1, le=200), Integral] = Field(
        50, examples=[50], description="Maximum number of messages."
    )


class FeedbackText(ResponseModel):
    """Feedback of the owner on an answer."""

    rating: Literal["up", "down"] = Field(description="`up` or `down`.")
    reasons: list[str] = Field(description="Codes of the reasons.")
    comment: str | None = Field(description="Comment of the owner. Null: none.")


class MessageText(ResponseModel):
    """Message with its text."""

    id: UUID = Field(description="Public id.")
    role: Literal["user", "assistant"] = Field(description="`user`: a question; `assistant`: an answer.")
    status: MessageStatus = Field(description="Status of the message.")
    timestamp: datetime = Field(description="Time when it was stored; of a pending answer, when it was requested.")
    content: str = Field(description="Text of the message.")
    metadata: dict[str, Any] = Field(description="Of an answer, how it was generated; of a question, its `context`.")
    feedback: FeedbackText | None = Field(description="Feedback of the owner. Null: none.")


class SessionText(ResponseModel):
    """Text of a session. Messages are ordered from oldest to newest."""

    session_id: UUID = Field(description="Session.")
    user_id: UUID = Field(description="Account that owns the session.")
    title: str = Field(description="Title of the session.")
    context: dict[str, Any] = Field(description="Context of every question in the session.")
    summary: str | None = Field(
        description="Newest conversation summary, of messages that are no longer sent to the model. Null: none."
    )
    messages: list[MessageText] = Field(description="Messages, oldest first.")


class StoppedMessage(ResponseModel):
    """Status of an answer after a cancellation."""

    message_id: UUID = Field(description="The answer.")
    status: MessageStatus = Field(
        description="`pending`: it has not stopped yet. If its process was killed, it becomes `interrupted` soon."
    )


class Confirmation(ResponseModel):
    """Confirmation of a completed operation."""

    message: str = Field(description="Human-readable confirmation.")
