"""Readable exports of the active branch: Markdown and plain text."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from app.database.repositories.transfer.conversations import StoredMessage, StoredSession

ReadableFormat = Literal["md", "txt"]


class TextWriter(Protocol):
    """Writes sessions as text."""

    def session_start(self, session: StoredSession) -> str:
        """Return what comes before the messages of a session."""
        ...

    def message(self, message: StoredMessage) -> str:
        """Return one message."""
        ...


@dataclass(frozen=True, slots=True)
class MarkdownWriter:
    """Markdown: a heading per session and per message. The texts are Markdown already."""

    def session_start(self, session: StoredSession) -> str:
        """Return the title as a heading of the first level, and the times."""
        title = "".join(
            f"\\{character}" if character in "\\`*_{}[]<>#|~!" else character for character in session.title
        )
        return f"# {' '.join(title.split())}\n\n*{_time(session.created_at)} - {_time(session.updated_at)}*\n"

    def message(self, message: StoredMessage) -> str:
        """Return a message under a heading of the second level."""
        status = "" if message.status == "complete" else f"\n*({_status(message)})*\n"
        text = f"\n{message.content.strip()}\n" if message.content.strip() else ""
        return f"\n## {_author(message)}\n\n*{_time(message.timestamp)}*\n{text}{status}"


@dataclass(frozen=True, slots=True)
class PlainTextWriter:
    """Plain text: one paragraph per message."""

    def session_start(self, session: StoredSession) -> str:
        """Return the title, underlined, and the times."""
        title = " ".join(session.title.split())
        return f"{title}\n{'=' * len(title)}\n{_time(session.created_at)} - {_time(session.updated_at)}\n"

    def message(self, message: StoredMessage) -> str:
        """Return a message after a line with its author and time."""
        status = "" if message.status == "complete" else f" ({_status(message)})"
        text = f"{message.content.strip()}\n" if message.content.strip() else ""
        return f"\n[{_time(message.timestamp)}] {_author(message)}{status}:\n{text}"


WRITERS: dict[ReadableFormat, TextWriter] = {"md": MarkdownWriter(), "txt": PlainTextWriter()}
SESSION_SEPARATORS: dict[ReadableFormat, str] = {"md": "\n---\n\n", "txt": "\n\n"}


def _author(message: StoredMessage) -> str:
    if message.role == "user":
        return "User"
    model = message.meta.get("model_used")
    return f"Assistant ({model})" if model else "Assistant"


def _status(message: StoredMessage) -> str:
    return "interrupted" if message.status in {"pending", "streaming"} else message.status


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
