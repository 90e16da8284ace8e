"""File format of exported conversations, version 1: source of `docs/reference/conversation-export.schema.json`.

A file holds any number of sessions with all their branches. It has neither ids of the service nor costs, so it can be
imported into any account, and exporting what was imported gives the same sessions.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from app.chat.schemas.messages import Context, ModelName
from app.chat.schemas.sessions import Tags, Title
from app.chat.transfer.formats.imported_session import (
    MAX_MESSAGES,
    MAX_SESSIONS,
    MAX_TEXT_LENGTH,
    ImportedMessage,
    ImportedSession,
    LeftOutReason,
    SessionRefusedError,
)
from app.core.schema_types import Instant, RequestModel, Storable, check_not_blank, replace_display_controls
from app.database.models.chat.chat_session import TitleSource
from app.database.repositories.turns.turns import FinalStatus

MessageNumber = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]
ErrorCode = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,99}$")]
MessageText = Annotated[str, StringConstraints(max_length=MAX_TEXT_LENGTH), Storable]


def _replace_in_tags(value: object) -> object:
    return [replace_display_controls(tag) for tag in value] if isinstance(value, list) else value


class FileMessage(RequestModel):
    """A question or an answer."""

    id: MessageNumber = Field(description="Number of the message in this session, greater than those before it.")
    parent: MessageNumber | None = Field(
        description="The message that it follows, which is listed before it: for an answer its question, for a "
        "question usually an answer; null for a question that begins the conversation. Messages with the same parent "
        "and role are versions of each other."
    )
    role: Literal["user", "assistant"]
    content: MessageText
    status: FinalStatus = Field("complete", description="A question is always `complete`.")
    timestamp: Instant = Field(description="When it was sent, or the answer ended.")
    context: Context | None = Field(None, description="Context of a question.")
    model: ModelName | None = Field(None, description="Model that gave the answer.")
    error: ErrorCode | None = Field(None, description="Reason code of an answer that failed.")


class FileSession(RequestModel):
    """A session with the messages of all branches, in the order of their creation."""

    # Titles and tags of earlier releases may contain characters that are refused today.
    title: Annotated[Title, BeforeValidator(replace_display_controls)]
    title_source: TitleSource = Field(
        "user", description="Who wrote the title: nobody yet, the first question, a model, or the user."
    )
    context: Context = Field(default_factory=dict)
    created_at: Instant
    updated_at: Instant = Field(description="Time of the last change, which orders the list of sessions.")
    is_archived: bool = Field(default=False, strict=True)
    is_pinned: bool = Field(default=False, strict=True)
    tags: Annotated[Tags, BeforeValidator(_replace_in_tags)] = Field(default_factory=list)
    model: ModelName | None = Field(None, description="Model of questions that name none.")
    active_message: MessageNumber | None = Field(
        None, description="Last message of the branch that a reader sees. Null: the newest message."
    )
    messages: list[FileMessage] = Field(max_length=MAX_MESSAGES)


class FileHeader(BaseModel):
    """The fields of a file apart from its sessions."""

    # No further fields in version 1; readers refuse versions that they do not know.
    model_config = ConfigDict(extra="forbid", title="Exported conversations")

    format: Literal["chat-bot-system/conversations"]
    version: Literal[1]
    exported_at: Instant


class ConversationFile(FileHeader):
    """A file of exported conversations."""

    sessions: list[FileSession] = Field(max_length=MAX_SESSIONS)


_FIELD_NAMES = FileSession.model_fields.keys() | FileMessage.model_fields.keys()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ConversationFile.model_json_schema()}


def read_session(value: object, *, now: datetime) -> ImportedSession:
    """Return a session of a file. Times later than `now` become `now`.

    Raises:
        SessionRefusedError: it violates the format, or its messages are not a tree of questions and answers.

    """
    try:
        session = FileSession.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise SessionRefusedError(_reason(problem["type"], problem["loc"]), _place(problem["loc"])) from None
    index_of = _check_tree(session.messages)
    if session.active_message is not None and session.active_message not in index_of:
        raise SessionRefusedError("missing_parent", "active_message")
    return ImportedSession(
        title=session.title,
        title_source=session.title_source,
        meta=session.context,
        created_at=min(session.created_at, now),
        updated_at=min(session.updated_at, now),
        messages=[_message(message, index_of, now) for message in session.messages],
        active=None if session.active_message is None else index_of[session.active_message],
        is_archived=session.is_archived,
        is_pinned=session.is_pinned,
        tags=session.tags,
        model=session.model,
    )


def _check_tree(messages: list[FileMessage]) -> dict[int, int]:
    """Return the index of each message by its id."""
    index_of: dict[int, int] = {}
    last_id = 0
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if message.id in index_of:
            raise SessionRefusedError("duplicate_id", place)
        if message.id < last_id:
            raise SessionRefusedError("invalid", f"{place}.id")
        last_id = message.id
        if message.parent is None:
            parent_role = None
        elif message.parent not in index_of:
            # A parent comes first, so a cycle has a message whose parent is not known yet.
            raise SessionRefusedError("cycle" if message.parent >= message.id else "missing_parent", place)
        else:
            parent_role = messages[index_of[message.parent]].role
        if message.role == "assistant" and parent_role != "user":
            raise SessionRefusedError("wrong_parent", place)
        _check_fields(message, place)
        index_of[message.id] = index
    return index_of


def _check_fields(message: FileMessage, place: str) -> None:
    if message.role == "assistant":
        if message.context is not None:
            raise SessionRefusedError("invalid", f"{place}.context")
        return
    if message.status != "complete" or message.model is not None or message.error is not None:
        raise SessionRefusedError("invalid", f"{place}.status")
    try:
        check_not_blank(message.content)
    except ValueError:
        raise SessionRefusedError("empty", f"{place}.content") from None


def _message(message: FileMessage, index_of: dict[int, int], now: datetime) -> ImportedMessage:
    if message.role == "user":
        meta: dict[str, Any] = message.context or {}
    else:
        meta = {"model_used": message.model, "error": message.error}
        meta = {name: value for name, value in meta.items() if value is not None}
    return ImportedMessage(
        parent=None if message.parent is None else index_of[message.parent],
        role=message.role,
        content=message.content,
        status=message.status,
        created_at=min(message.timestamp, now),
        meta=meta,
    )


def _reason(code: str, location: tuple[int | str, ...]) -> LeftOutReason:
    if code == "too_long" and location == ("messages",):
        return "session_too_large"
    return "text_too_long" if code == "string_too_long" else "invalid"


def _place(location: tuple[int | str, ...]) -> str:
    place = ""
    for part in location:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part in _FIELD_NAMES:
            place += f".{part}" if place else part
        else:
            break  # a name from the file
    return place
