"""Serialization of sessions in the format of `conversation_file`, in pieces: no session is in memory whole."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import to_json

from app.chat.transfer.formats.outline import FORMAT_NAME, FORMAT_VERSION
from app.database.repositories.transfer.conversations import StoredMessage, StoredSession

FILE_END = b"]}\n"
_UNFINISHED = {"pending", "streaming"}


def file_start(exported_at: datetime) -> bytes:
    """Return the beginning of a file, up to its first session."""
    header = {"format": FORMAT_NAME, "version": FORMAT_VERSION, "exported_at": exported_at}
    return to_json(header)[:-1] + b',"sessions":['


@dataclass(slots=True)
class SessionWriter:
    """Writes one session. Its messages are numbered without gaps, in the order of their creation."""

    session: StoredSession
    _seqs: "array[int]" = field(default_factory=lambda: array("i"))

    def start(self) -> bytes:
        """Return the beginning of the session, up to its first message."""
        session = self.session
        fields: dict[str, Any] = {
            "title": session.title,
            "title_source": session.title_source,
            "context": session.meta,
            "created_at": session.created_at,
            "updated_at": session.updated_at,
            "is_archived": session.is_archived,
            "is_pinned": session.is_pinned,
            "tags": session.tags,
            "model": session.model,
        }
        return to_json(fields)[:-1] + b',"messages":['

    def messages(self, batch: Sequence[StoredMessage]) -> bytes:
        """Return the next messages, ordered by `seq`."""
        is_first = not self._seqs
        items = b",".join(to_json(self._message(message)) for message in batch)
        return items if is_first or not batch else b"," + items

    def end(self) -> bytes:
        """Return the end of the session."""
        active = self.session.active_seq
        # Null means the newest message, also of those that were stored while the session was read.
        number = None if active is None else self._number(active)
        return b'],"active_message":%b}' % to_json(number)

    def _message(self, message: StoredMessage) -> dict[str, Any]:
        self._seqs.append(message.seq)
        fields: dict[str, Any] = {
            "id": len(self._seqs),
            "parent": None if message.parent_seq is None else self._number(message.parent_seq),
            "role": message.role,
            "content": message.content,
            # The text of an answer that is being generated is not stored yet.
            "status": "interrupted" if message.status in _UNFINISHED else message.status,
            "timestamp": message.timestamp,
        }
        if message.role == "user":
            fields["context"] = message.meta or None
        else:
            fields |= {"model": message.meta.get("model_used"), "error": message.meta.get("error")}
        return fields

    def _number(self, seq: int) -> int | None:
        index = bisect_left(self._seqs, seq)
        return index + 1 if index < len(self._seqs) and self._seqs[index] == seq else None
