"""Sessions."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from app.chat.schemas.messages import BranchMessage, Context, MessageResponse, ModelOptions, QuestionText
from app.core.schema_types import Pagination, ResponseModel, Storable
from app.services.usage_schemas import Usage

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), Storable]


class SessionCreate(ModelOptions):
    """A new session. Model and parameters apply to the answer to `initial_message`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"title": "Holiday plans", "initial_message": "Where is it warm in March?"}]}
    )

    title: Title | None = Field(None, examples=["Holiday plans"])
    context: Context | None = Field(
        None,
        examples=[{"tone": "professional", "system_prompt": "Answer in one sentence."}],
        description="Default context of every question in the session. Its fields are those of a question's context.",
    )
    initial_message: QuestionText | None = Field(
        None,
        examples=["Where is it warm in March?"],
        description="First question; its answer is returned with the session.",
    )

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if self.initial_message is None and self.model_fields_set & ModelOptions.model_fields.keys():
            raise ValueError("model and parameters are for the answer to initial_message, which is missing")
        return self


class SessionSummary(ResponseModel):
    """A session in a list."""

    session_id: UUID
    title: str
    created_at: datetime
    updated_at: datetime
    message_count: int
    last_message_preview: str | None
    last_message_timestamp: datetime | None


class SessionList(ResponseModel):
    """A page of sessions, the most recently used first."""

    sessions: list[SessionSummary]
    pagination: Pagination


class SessionResponse(ResponseModel):
    """A session."""

    session_id: UUID
    title: str
    context: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    message_count: int


class SessionCreated(SessionResponse):
    """A new session, with its first turn if `initial_message` was set."""

    first_message: MessageResponse | None = None
    ai_response: MessageResponse | None = None


class SessionDetail(SessionResponse):
    """A session with the newest messages of its active branch, oldest first."""

    usage: Usage
    messages: list[BranchMessage] | None = Field(None, description="Absent with `include_messages=false`.")


class Deleted(ResponseModel):
    """Confirmation of a deletion."""

    message: str
