"""Questions and answers."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, StringConstraints

from app.chat.schemas.feedback import FeedbackResponse
from app.chat.schemas.sampling import FrequencyPenalty, PresencePenalty, Temperature, TopP
from app.core.content_limits import LANGUAGE_TAG, MAX_MESSAGE_LENGTH, MAX_SYSTEM_PROMPT_LENGTH
from app.core.schema_types import Integral, JsonObject, NotBlank, RequestModel, ResponseModel, Storable
from app.database.repositories.turns.turns import FinalStatus, MessageStatus

QuestionText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_MESSAGE_LENGTH),
    Storable,
    NotBlank,
]

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]


def _check_context(context: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if context.get("tone") not in (None, "professional", "casual"):
        raise ValueError("tone must be 'professional' or 'casual'")
    language = context.get("language")
    if language is not None and not (isinstance(language, str) and re.fullmatch(LANGUAGE_TAG, language)):
        raise ValueError("language must be a code such as 'de' or 'pt-BR'")
    prompt = context.get("system_prompt")
    if prompt is not None and not (
        isinstance(prompt, str) and prompt.strip() and len(prompt) <= MAX_SYSTEM_PROMPT_LENGTH
    ):
        raise ValueError(f"system_prompt must be a text of 1 to {MAX_SYSTEM_PROMPT_LENGTH} characters, not blank")
    return context


Context = Annotated[JsonObject, AfterValidator(_check_context)]
"""JSON object attached to a session or a question. Some of its fields change the instructions for the model."""

_CONTEXT_FIELDS = (
    "At most 8 KiB of JSON. `tone` is `professional` or `casual`; `language` is the code of the language to answer in; "
    "`system_prompt` contains additional instructions, at most 4 000 characters, appended to the service's own. "
    "Other fields have no effect."
)


class ModelOptions(RequestModel):
    """Model and sampling parameters. Fields that are left out have the defaults of the service's settings."""

    # No example: which models there are depends on the settings.
    model: ModelName | None = Field(
        None, description="A model of `GET /models`. If it fails, the fallback models are used."
    )
    temperature: Temperature = None
    top_p: TopP = None
    frequency_penalty: FrequencyPenalty = None
    presence_penalty: PresencePenalty = None
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=1_000_000), Integral] | None = Field(
        None,
        examples=[100],
        description="Maximum number of tokens of the answer; `GET /models` returns the upper limit.",
    )


class ChatRequest(ModelOptions):
    """A question."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"message": "What is my name?", "context": {"tone": "casual"}}]}
    )

    message: QuestionText = Field(examples=["What is my name?"], description="1 to 32 000 characters, not blank.")
    context: Context | None = Field(
        None,
        examples=[{"tone": "casual"}],
        description=_CONTEXT_FIELDS,
    )


class MessageCreate(ChatRequest):
    """A question in a session."""

    parent_id: UUID | None = Field(
        None,
        examples=[],
        description="The message that the question follows, usually an answer: another branch begins there if the "
        "conversation continues otherwise, as when a question is edited. Null: the conversation begins anew. Absent: "
        "the question continues the active branch.",
    )


class AnswerCreate(ModelOptions):
    """Model and parameters of another answer to a question."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"temperature": 0.9}]})


class MessageResponse(ResponseModel):
    """One message of a session."""

    id: UUID = Field(description="Public id.")
    role: Literal["user", "assistant"] = Field(description="`user`: a question; `assistant`: an answer.")
    content: str = Field(description="Text of the message.")
    status: MessageStatus = Field(description="Status of the message.")
    timestamp: datetime = Field(description="Time when it was stored; of a pending answer, when it was requested.")
    metadata: dict[str, Any] = Field(description="Of an answer, how it was generated; of a question, its `context`.")
    tokens_used: int = Field(description="Prompt and completion tokens of all attempts; 0 for a question.")
    processing_time_ms: int = Field(
        description="Duration of all attempts and of the pauses before them, in milliseconds; 0 for a question."
    )
    parent_id: UUID | None = Field(
        description="For an answer, its question. For a question, the message that it follows; null: it is a first one."
    )
    feedback: FeedbackResponse | None = Field(description="Feedback of the caller on the answer.")


class Siblings(ResponseModel):
    """Versions of a message: edited questions, or answers to the same question."""

    index: int = Field(description="Position of the message among its versions, starting at 0.")
    count: int = Field(description="Number of versions.")
    ids: list[UUID] = Field(description="All versions, the message itself included, in the order of their creation.")


class BranchMessage(MessageResponse):
    """One message of a branch, with its other versions."""

    siblings: Siblings = Field(description="Its position among the versions of the message.")


class MessagePage(ResponseModel):
    """A page of the active branch of a session, oldest message first."""

    messages: list[BranchMessage] = Field(description="Messages of the active branch, oldest first.")
    has_older: bool = Field(description="Whether the branch has messages before these.")
    has_newer: bool = Field(description="Whether the branch has messages after these.")


class ActiveBranch(RequestModel):
    """Selection of a branch."""

    message_id: UUID = Field(
        examples=["0199c2f0-7c5e-7a3b-9b1e-3f5a6c7d8e90"],
        description="A message of the branch, which continues from it to its newest end.",
    )


class MessagesDeleted(ResponseModel):
    """Result of the deletion of a message with all that follows it."""

    deleted: int = Field(description="Number of deleted messages.")
    message_count: int = Field(description="Number of messages that the session still has.")


class SessionUpdated(ResponseModel):
    """Counters of the session after the turn."""

    message_count: int = Field(description="Number of messages of all branches.")
    updated_at: datetime = Field(description="Time of the last question or answer; without one, of the creation.")


class TurnResponse(ResponseModel):
    """A question and its answer. If no model answered, `ai_response.status` is `failed`."""

    user_message: MessageResponse = Field(description="The question.")
    ai_response: MessageResponse = Field(description="The answer.")
    session_updated: SessionUpdated = Field(description="Changed values of the session.")


class DirectResponse(ResponseModel):
    """Answer to a direct question."""

    response: str = Field(description="Text of the answer.")
    status: FinalStatus = Field(description="Status of the answer.")
    timestamp: datetime = Field(description="Time when the answer ended.")
    metadata: dict[str, Any] = Field(description="How the answer was generated.")
    tokens_used: int = Field(description="Prompt and completion tokens of all attempts.")
    processing_time_ms: int = Field(
        description="Duration of all attempts and of the pauses before them, in milliseconds."
    )
