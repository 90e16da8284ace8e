"""Sessions read from an import file, in the form in which they are stored, whatever the format of the file."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic_core import to_json

from app.database.models.chat.chat_session import TitleSource
from app.database.repositories.turns.turn_start import MAX_SIBLINGS
from app.database.repositories.turns.turns import FinalStatus

MAX_SESSIONS = 10_000
"""Maximum number of sessions of one file."""
MAX_MESSAGES = 20_000
"""Maximum number of messages of one session, of all branches."""
MAX_TEXT_LENGTH = 1_000_000
"""Maximum number of characters of one message."""
MAX_SESSION_SIZE = 32 * 1024 * 1024
"""Approximate maximum size of one session in memory, in bytes."""

LeftOutReason = Literal[
    "answer_without_question",
    "attachment",
    "cycle",
    "duplicate_id",
    "duplicate_key",
    "empty",
    "hidden",
    "internal_error",
    "invalid",
    "missing_parent",
    "reasoning",
    "session_too_large",
    "system_message",
    "text_too_long",
    "too_many_versions",
    "tool_message",
    "unsupported_content",
    "wrong_parent",
]
"""Why a session, a message or a part of a message was not imported."""


class SessionRefusedError(Exception):
    """A session of the file cannot be imported. Nothing of it is stored."""

    def __init__(self, reason: LeftOutReason, place: str = "") -> None:
        """Take the reason, and the place within the session."""
        super().__init__(reason)
        self.reason = reason
        self.place = place


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of the file that was not imported."""

    place: str
    """Path in the file, made of indexes and known names only: it contains no text of the file."""
    reason: LeftOutReason


@dataclass(slots=True)
class ImportedMessage:
    """A message to store. Messages are listed in their order of creation, parents before their children."""

    parent: int | None
    """Index of the parent in the list of messages."""
    role: Literal["user", "assistant"]
    content: str
    status: FinalStatus
    created_at: datetime
    meta: dict[str, Any]


@dataclass(slots=True)
class ImportedSession:
    """A session to store."""

    title: str
    meta: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    messages: list[ImportedMessage]
    active: int | None = None
    """Index of the last message of the active branch. None: the newest message."""
    title_source: TitleSource = "user"
    is_archived: bool = False
    is_pinned: bool = False
    tags: list[str] = field(default_factory=list)
    model: str | None = None
    left_out: list[LeftOut] = field(default_factory=list)
    """Parts of the session that could not be imported."""

    def fingerprint(self) -> bytes:
        """Return a SHA-256 of what identifies the conversation: its time of creation and its messages.

        Title, tags and the like do not count: a conversation that was only renamed is the same one.
        """
        digest = hashlib.sha256(to_json(self.created_at))
        for line in self._identity():
            digest.update(b"\n" + to_json(line))
        return digest.digest()

    def check_versions(self) -> None:
        """Check how many versions each question and each answer has.

        Raises:
            SessionRefusedError: a message has more than `MAX_SIBLINGS`.

        """
        siblings = Counter((message.parent, message.role) for message in self.messages)
        if siblings and max(siblings.values()) > MAX_SIBLINGS:
            raise SessionRefusedError("too_many_versions")

    def _identity(self) -> Iterator[list[object]]:
        if not self.messages:
            yield [self.title]
        for message in self.messages:
            yield [message.parent, message.role, message.status, message.created_at, message.content]
