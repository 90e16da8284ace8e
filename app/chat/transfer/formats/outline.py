"""Outline of an import file: its format, and the number of its sessions. The functions block."""

from dataclasses import dataclass, field
from os import SEEK_END
from typing import IO, Final

from pydantic import ValidationError

from app.chat.transfer.formats.conversation_file import FileHeader
from app.chat.transfer.formats.imported_session import MAX_SESSIONS
from app.chat.transfer.formats.json_events import ENDS, STARTS, read_events
from app.core.exceptions import UnprocessableError
from app.database.repositories.transfer.imports import ImportFormat

FORMAT_NAME: Final = "chat-bot-system/conversations"
FORMAT_VERSION: Final = 1

_MAX_DEPTH = 100
"""Maximum nesting of the file."""
_MIN_BYTES_PER_EVENT = 6
"""Minimum size of the file per token: real conversations have more. A thread reads a million tokens in seconds."""
_FREE_EVENTS = 100_000
"""Number of tokens that any file may have."""
_MAX_FIELDS = 20
_MAX_NAME = 100
"""Maximum number of fields outside the sessions that are kept, and length of their names."""


@dataclass(frozen=True, slots=True)
class FileOutline:
    """Format and number of sessions of a file."""

    format: ImportFormat
    session_count: int


def read_outline(file: IO[bytes]) -> FileOutline:
    """Check the syntax of the whole file, recognize its format and count its sessions.

    Raises:
        BadRequestError: the file is not JSON.
        UnprocessableError: it is nested too deeply, has too many values or sessions, or is of an unknown format.

    """
    outline = _OutlineReader(max_events=_FREE_EVENTS + file.seek(0, SEEK_END) // _MIN_BYTES_PER_EVENT)
    for event, value in read_events(file):
        outline.feed(event, value)
    return outline.result()


@dataclass(slots=True)
class _OutlineReader:
    """Recognizes the format from the outer levels of the file."""

    max_events: int
    depth: int = 0
    events: int = 0
    session_count: int = 0
    is_list: bool | None = None
    key: str = ""
    header: dict[str, object] = field(default_factory=dict)
    has_repeated_field: bool = False
    session_lists: int = 0

    def feed(self, event: str, value: object) -> None:
        self.events += 1
        if self.events > self.max_events:
            raise UnprocessableError("The file has too many values for its size.", code="import_too_large")
        if event in ENDS:
            self.depth -= 1
        elif event == "map_key":
            if self.depth == 1:
                self.key = str(value)
        else:
            self._start_value(event, value)
        if event in STARTS:
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise UnprocessableError("The file is nested too deeply.", code="import_nested_too_deep")

    def _start_value(self, event: str, value: object) -> None:
        if self.depth == 0:
            self.is_list = event == "start_array" if event in STARTS else None
        elif self.depth == 1 and self.is_list:
            self._count_session()
        elif self.depth == 1:
            if event == "start_array" and self.key == "sessions":
                self.session_lists += 1
            else:
                # No field of the header is a list or an object.
                self._add_to_header(None if event in STARTS else value)
        elif self.depth == 2 and not self.is_list and self.key == "sessions":  # noqa: PLR2004 - object, list
            self._count_session()

    def _add_to_header(self, value: object) -> None:
        name = self.key[:_MAX_NAME]
        self.has_repeated_field |= name in self.header
        # With more fields than these the file is refused anyway.
        if len(self.header) < _MAX_FIELDS:
            self.header[name] = value

    def _count_session(self) -> None:
        self.session_count += 1
        if self.session_count > MAX_SESSIONS:
            raise UnprocessableError(f"A file may have {MAX_SESSIONS} sessions.", code="import_too_large")

    def result(self) -> FileOutline:
        if self.is_list:
            return FileOutline("chatgpt", self.session_count)
        if self.is_list is None or self.header.get("format") != FORMAT_NAME or self.session_lists != 1:
            raise UnprocessableError(
                "The file is neither an export of this service nor a conversations.json of ChatGPT.",
                code="import_format_unknown",
            )
        if self.header.get("version") != FORMAT_VERSION or self.header.get("version") is True:
            raise UnprocessableError(
                f"Only version {FORMAT_VERSION} of the format can be imported.", code="import_version_unknown"
            )
        try:
            FileHeader.model_validate(self.header)
        except ValidationError as error:
            names = {problem["loc"][0] for problem in error.errors()} & FileHeader.model_fields.keys()
            problems = [f"`{name}` is missing or invalid" for name in sorted(names)]
            raise _invalid_header(*problems or ["the file has other fields than the format"]) from None
        if self.has_repeated_field:
            raise _invalid_header("a field occurs twice")
        return FileOutline("conversations", self.session_count)


def _invalid_header(*problems: str) -> UnprocessableError:
    return UnprocessableError(f"The file violates its format: {'; '.join(problems)}.", code="import_format_invalid")
