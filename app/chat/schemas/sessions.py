"""Sessions."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    MISSING,
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

from app.chat.schemas.messages import Context, MessageResponse, ModelName, ModelOptions, QuestionText
from app.core.content_limits import MAX_TITLE_LENGTH
from app.core.cursors import Cursor
from app.core.schema_types import (
    DisplayText,
    NotBlank,
    Page,
    PageSize,
    Pagination,
    RequestModel,
    ResponseModel,
    SearchText,
)
from app.core.text import fold
from app.database.models.chat.chat_session import MAX_TAG_LENGTH, MAX_TAGS, TitleSource
from app.database.repositories.chat.session_list import SessionFilter, SessionSort
from app.services.usage_schemas import Usage

Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TITLE_LENGTH),
    DisplayText,
    NotBlank,
]


def _normalize_tag(tag: str) -> str:
    tag = " ".join(unicodedata.normalize("NFKC", tag).lower().split())
    if len(tag) > MAX_TAG_LENGTH:
        raise ValueError(f"must not have more than {MAX_TAG_LENGTH} characters")
    return tag


def _remove_duplicates(tags: list[str]) -> list[str]:
    distinct: dict[str, str] = {}
    for tag in tags:
        distinct.setdefault(fold(tag), tag)
    return list(distinct.values())


Tag = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    DisplayText,
    NotBlank,
    AfterValidator(_normalize_tag),
]
"""A label in its normal form: lower case, NFKC, single spaces. Labels are compared in their folded forms."""

Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS), AfterValidator(_remove_duplicates)]


class SessionCreate(ModelOptions):
    """A new session. Model and parameters apply to the answer to `initial_message`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"title": "Holiday plans", "initial_message": "Where is it warm in March?"}]}
    )

    title: Title | None = Field(
        None, examples=["Holiday plans"], description="Title. Default: `New Chat`, until the first question sets it."
    )
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


class SessionUpdate(RequestModel):
    """Changes of a session. Omitted fields are not changed."""

    model_config = ConfigDict(
        json_schema_extra={"minProperties": 1, "examples": [{"title": "Holiday plans", "tags": ["travel", "italy"]}]}
    )

    title: Title | MISSING = Field(
        MISSING, examples=["Holiday plans"], description="Only the user replaces a title that the user has set."
    )
    context: Context | MISSING = Field(
        MISSING, examples=[{"tone": "casual"}], description="Replaces the context of the session. `{}` clears it."
    )
    model: ModelName | MISSING | None = Field(
        MISSING,
        description="A model of `GET /models`, for questions that name none. `null`: the default model.",
    )
    is_archived: StrictBool | MISSING = Field(
        MISSING, examples=[False], description="Archived sessions accept no questions, and have a list of their own."
    )
    is_pinned: StrictBool | MISSING = Field(
        MISSING, examples=[True], description="Pinned sessions have a list of their own."
    )
    tags: Tags | MISSING = Field(
        MISSING,
        examples=[["travel", "italy"]],
        description=f"Replace the tags: at most {MAX_TAGS} of {MAX_TAG_LENGTH} characters. They are stored in lower "
        "case, without duplicates.",
    )

    @model_validator(mode="after")
    def _require_one_field(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must contain at least one field")
        return self


class SessionQuery(RequestModel):
    """Filters, order and part of a list of sessions."""

    page: Page = Field(1, description="Number of the page, from 1.")
    size: PageSize = Field(20, description="Number of items per page.")
    cursor: Cursor | None = Field(
        None,
        description="`next_cursor` of the previous part, with the same filters and order. It replaces `page`: no "
        "session is skipped or repeated because others have moved meanwhile.",
    )
    search: SearchText | None = Field(None, description="Words that must all occur in the title or in one message.")
    archived: bool = Field(default=False, description="Archived sessions instead of the others.")
    pinned: bool | None = Field(None, description="Pinned sessions only, or the others only.")
    tag: Tag | None = Field(None, description="Sessions with this tag.")
    sort: SessionSort = Field(
        "updated", description="`updated`: last used first; `created`: newest first; `title`: by title, from A to Z."
    )

    @model_validator(mode="after")
    def _check_position(self) -> Self:
        if self.cursor is not None and "page" in self.model_fields_set:
            raise ValueError("page and cursor exclude each other")
        return self

    def criteria(self, found: Sequence[int] | None, spellings: Sequence[str] | None) -> SessionFilter:
        """Return the filters as criteria of the repository.

        `found`: keys of the sessions that match `search`. `spellings`: those of `tag` that the user's sessions have.
        """
        return SessionFilter(self.archived, self.pinned, spellings, found)


class SessionSettings(ResponseModel):
    """What the user and the service have set for a session."""

    title_source: TitleSource = Field(
        description="`default`: none yet; `question`: the beginning of the first question; `model`: written by the "
        "model; `user`: set by the user, copied or imported."
    )
    model: str | None = Field(description="Model of questions that name none. Null: the default model.")
    is_archived: bool = Field(description="Whether the session is archived.")
    is_pinned: bool = Field(description="Whether the session is pinned.")
    tags: list[str] = Field(description="Labels of the session, in their normal form.")


MessageCount = Annotated[
    int,
    Field(description="Number of stored messages of all branches, including an answer that is being generated."),
]


class SessionSummary(SessionSettings):
    """A session in a list."""

    session_id: UUID = Field(description="Session.")
    title: str = Field(description="Title of the session.")
    created_at: datetime = Field(description="Time of creation.")
    updated_at: datetime = Field(description="Time of the last question or answer; without one, of the creation.")
    message_count: MessageCount
    last_message_preview: str | None = Field(
        description="Beginning of the last message of the active branch. Null: no messages."
    )
    last_message_timestamp: datetime | None = Field(
        description="Time of the last message of the active branch. Null: no messages."
    )


class SessionList(ResponseModel):
    """A part of the user's sessions."""

    sessions: list[SessionSummary] = Field(description="Sessions of the page.")
    pagination: Pagination | None = Field(description="Null with `cursor`: the sessions are not counted again.")
    next_cursor: str | None = Field(description="`cursor` of the next part. Null: this is the last one.")


class SessionResponse(ResponseModel):
    """A session."""

    session_id: UUID = Field(description="Session.")
    title: str = Field(description="Title of the session.")
    context: dict[str, Any] = Field(description="Context of every question in the session.")
    created_at: datetime = Field(description="Time of creation.")
    updated_at: datetime = Field(description="Time of the last question or answer; without one, of the creation.")
    message_count: MessageCount


class SessionCreated(SessionResponse):
    """A new session, with its first turn if `initial_message` was set."""

    first_message: MessageResponse | None = Field(
        None, description="The question `initial_message`. Null: there is none."
    )
    ai_response: MessageResponse | None = Field(None, description="The answer to it. Null: there is none.")


class SessionWithSettings(SessionResponse, SessionSettings):
    """A session with its settings."""


class SessionDetail(SessionWithSettings):
    """A session with its settings and the newest messages of its active branch, oldest first."""

    usage: Usage = Field(description="Usage of the session.")
    messages: list[MessageResponse] | None = Field(None, description="Absent with `include_messages=false`.")


class Deleted(ResponseModel):
    """Confirmation of a deletion."""

    message: str = Field(description="Human-readable confirmation.")
