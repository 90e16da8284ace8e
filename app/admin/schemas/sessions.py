"""What the routes of sessions take and give."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from app.core.types import (
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
from app.services.usage_schemas import Usage

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200), Storable, NotBlank]
MessageStatus = Literal["pending", "streaming", "complete", "failed", "cancelled", "interrupted"]


class SessionQuery(RequestModel):
    """Which sessions. What is left out may be anything."""

    page: Page = 1
    size: PageSize = 20
    user: UUID | None = Field(None, description="The owner: the id of an account.")
    from_: Instant | None = Field(
        None, alias="from", description="They began then or later.", examples=["2026-11-01T00:00:00Z"]
    )
    to: Instant | None = Field(None, description="They began before.")
    is_archived: bool | None = Field(None, description="False for every session: no operation archives one.")
    is_running: bool | None = Field(None, description="Whether an answer is being made.")


class SessionFacts(ResponseModel):
    """A session, without anything that somebody wrote."""

    session_id: UUID
    user_id: UUID
    created_at: datetime
    updated_at: datetime
    message_count: int
    last_message_timestamp: datetime | None
    is_archived: bool = Field(description="False for every session: no operation archives one.")
    running_message_id: UUID | None = Field(description="The answer that is being made.")


class SessionPage(ResponseModel):
    """A page of sessions, newest first."""

    sessions: list[SessionFacts]
    pagination: Pagination


class MessageInfo(ResponseModel):
    """A message, without its text."""

    id: UUID
    role: Literal["user", "assistant"]
    status: MessageStatus
    created_at: datetime
    updated_at: datetime
    parent_id: UUID | None = Field(description="Of an answer, its question.")
    tokens_used: int
    processing_time_ms: int
    model: str | None = Field(description="That answered.")
    error: str | None = Field(description="Why there is no answer, or not all of it: a code.")
    cost_usd: Usd | None = Field(description="Null: not known, or a question.")


class SessionInfo(SessionFacts):
    """A session with its newest messages, oldest first, without anything that somebody wrote."""

    usage: Usage
    messages: list[MessageInfo] = Field(description="At most 200.")


class SessionReading(RequestModel):
    """Why somebody's text has to be read, and how much of it."""

    reason: Reason = Field(
        examples=["Ticket 4711: the owner asks why the answer broke off"],
        description="Stands in the audit log for good, and in the owner's export: no names, no addresses.",
    )
    before: UUID | None = Field(None, description="The messages before this one. Left out: the newest.")
    limit: int = Field(50, strict=True, ge=1, le=200, examples=[50], description="Messages, at most.")


class MessageText(ResponseModel):
    """A message."""

    id: UUID
    role: Literal["user", "assistant"]
    status: MessageStatus
    timestamp: datetime
    content: str
    metadata: dict[str, Any]


class SessionText(ResponseModel):
    """What was written in a session. Messages come oldest first."""

    session_id: UUID
    user_id: UUID
    title: str
    context: dict[str, Any]
    summary: str | None = Field(description="A model's notes of messages that are too old to be sent to it.")
    messages: list[MessageText]


class StoppedMessage(ResponseModel):
    """An answer that is, or was, to be stopped."""

    message_id: UUID
    status: MessageStatus = Field(
        description="`pending`: it has not stopped yet. If its process has died, it becomes `interrupted` soon."
    )


class Confirmation(ResponseModel):
    """It is done."""

    message: str
