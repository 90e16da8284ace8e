"""What the chat service takes and gives."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, model_validator

from app.core.types import JsonObject, NotBlank, Pagination, RequestModel, ResponseModel, Storable
from app.database.repositories.chat.turns import FinalStatus
from app.services.usage_schemas import Usage

MAX_MESSAGE_LENGTH = 32_000
MAX_SYSTEM_PROMPT_LENGTH = 4000
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
"""BCP 47, as far as it matters here."""

MessageText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_MESSAGE_LENGTH),
    Storable,
    NotBlank,
]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), Storable]

MessageStatus = Literal["pending", "streaming", "complete", "failed", "cancelled", "interrupted"]


def _check_context(context: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if context.get("tone") not in (None, "professional", "casual"):
        raise ValueError("tone must be 'professional' or 'casual'")
    language = context.get("language")
    if language is not None and not (isinstance(language, str) and _LANGUAGE.fullmatch(language)):
        raise ValueError("language must be a code such as 'de' or 'pt-BR'")
    wish = context.get("system_prompt")
    if wish is not None and not (isinstance(wish, str) and wish.strip() and len(wish) <= MAX_SYSTEM_PROMPT_LENGTH):
        raise ValueError(f"system_prompt must be a text of 1 to {MAX_SYSTEM_PROMPT_LENGTH} characters, not blank")
    return context


Context = Annotated[JsonObject, AfterValidator(_check_context)]
"""What a client attaches to a session or a question. The fields named here choose how the model answers."""

_CONTEXT_FIELDS = (
    "At most 8 KiB of JSON. `tone` is `professional` or `casual`; `language` is the code of the language to answer in; "
    "`system_prompt` are instructions of the client's own, at most 4 000 characters, which come after the service's. "
    "The rest comes back in the metadata."
)


class ModelWishes(RequestModel):
    """Which model is to answer, and how. What is left out is as the service's settings say."""

    model: ModelName | None = Field(
        None, examples=["gpt-4"], description="One of `GET /models`. Where it cannot answer, the fallback models do."
    )
    temperature: float | None = Field(None, strict=True, ge=0, le=2, allow_inf_nan=False, examples=[0.7])
    top_p: float | None = Field(None, strict=True, ge=0, le=1, allow_inf_nan=False, examples=[0.9])
    frequency_penalty: float | None = Field(None, strict=True, ge=-2, le=2, allow_inf_nan=False, examples=[0])
    presence_penalty: float | None = Field(None, strict=True, ge=-2, le=2, allow_inf_nan=False, examples=[0])
    max_tokens: int | None = Field(
        None, strict=True, ge=1, le=1_000_000, examples=[500], description="At most as many as `GET /models` says."
    )


class ChatRequest(ModelWishes):
    """A question."""

    message: MessageText = Field(examples=["What is my name?"], description="1 to 32 000 characters, not blank.")
    context: Context | None = Field(
        None,
        examples=[{"tone": "casual"}],
        description=_CONTEXT_FIELDS,
    )


class SessionCreate(ModelWishes):
    """A new session. Model and parameters are for the answer to `initial_message`."""

    title: Title | None = Field(None, examples=["Holiday plans"])
    context: Context | None = Field(
        None,
        examples=[{"tone": "professional", "system_prompt": "Answer in one sentence."}],
        description="Holds for every question that does not say otherwise: fields as of a question's.",
    )
    initial_message: MessageText | None = Field(None, description="Asked at once; the answer comes with the session.")

    @model_validator(mode="after")
    def _check_wishes(self) -> Self:
        if self.initial_message is None and self.model_fields_set & ModelWishes.model_fields.keys():
            raise ValueError("model and parameters are for the answer to initial_message, which is missing")
        return self


class MessageResponse(ResponseModel):
    """One message of a session."""

    id: UUID
    role: Literal["user", "assistant"]
    content: str
    status: MessageStatus
    timestamp: datetime
    metadata: dict[str, Any]
    tokens_used: int
    processing_time_ms: int
    parent_id: UUID | None = Field(description="Of an answer, its question.")


class SessionUpdated(ResponseModel):
    """The session's counters after a turn."""

    message_count: int
    updated_at: datetime


class TurnResponse(ResponseModel):
    """A question and its answer. Where no model answered, `ai_response.status` is `failed`."""

    user_message: MessageResponse
    ai_response: MessageResponse
    session_updated: SessionUpdated


class DirectResponse(ResponseModel):
    """An answer that belongs to no session."""

    response: str
    status: FinalStatus
    timestamp: datetime
    metadata: dict[str, Any]
    tokens_used: int
    processing_time_ms: int


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


class ModelResponse(ResponseModel):
    """A model that may be asked."""

    name: str
    is_default: bool = Field(description="Whether it answers where a question names none.")
    is_fallback: bool = Field(description="Whether it answers where the model asked for cannot.")
    context_window: int = Field(description="Tokens that it can look at in one request.")
    prompt_price: Decimal | None = Field(description="US dollars for a million tokens. Null: not known.")
    completion_price: Decimal | None = Field(description="The same for the tokens of an answer.")


class ModelList(ResponseModel):
    """The models that may be asked, the default first."""

    models: list[ModelResponse]
    max_tokens: int = Field(description="Most tokens of one answer.")


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
    """A page of sessions, last used first."""

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
    """A new session, with its first turn if one was asked for."""

    first_message: MessageResponse | None = None
    ai_response: MessageResponse | None = None


class SessionDetail(SessionResponse):
    """A session with its newest messages, oldest first."""

    usage: Usage
    messages: list[MessageResponse] | None = Field(None, description="Absent when not asked for.")


class Deleted(ResponseModel):
    """Confirmation."""

    message: str
