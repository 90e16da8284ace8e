"""Streaming reader of import files: finds the sessions of a JSON file, and builds them one at a time.

Memory is bounded by the largest session that is allowed, whatever the size of the file. The functions block, so they
run in a thread.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeAlias

import ijson

from app.chat.transfer.formats.imported_session import MAX_SESSION_SIZE, MAX_SESSIONS, LeftOutReason
from app.chat.transfer.formats.surrogate_filter import SurrogateFilter
from app.core.exceptions import BadRequestError, UnprocessableError
from app.database.repositories.transfer.imports import ImportFormat

FORMAT_NAME = "chat-bot-system/conversations"
FORMAT_VERSION = 1


Wanted: TypeAlias = "Mapping[str, Wanted] | None"
"""Fields of an object that are read, `*` for all names and for the items of a list. None: everything below is read."""

_MAX_DEPTH = 100
"""Maximum nesting of the file."""
_MAX_EVENTS = 15_000_000
"""Maximum number of tokens of the file: a file of the maximum size that consists of real texts has a fraction of it."""
_VALUE_SIZE = 64
"""Approximate size of a value in memory, apart from its text, in bytes."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STARTS = {"start_map", "start_array"}
_ENDS = {"end_map", "end_array"}


@dataclass(frozen=True, slots=True)
class FileOutline:
    """Format and number of sessions of a file."""

    format: ImportFormat
    session_count: int


@dataclass(frozen=True, slots=True)
class RawSession:
    """One session of a file as parsed JSON."""

    index: int
    value: Any
    problem: LeftOutReason | None = None
    """Why the session was not read. Its value is None then."""


def read_outline(file: IO[bytes]) -> FileOutline:
    """Check the syntax of the whole file, recognize its format and count its sessions.

    Raises:
        BadRequestError: the file is not JSON.
        UnprocessableError: it is nested too deeply, has too many values or sessions, or is of an unknown format.

    """
    outline = _OutlineReader()
    for event, value in _events(file):
        outline.feed(event, value)
    return outline.result()


def read_sessions(file: IO[bytes], outline: FileOutline, wanted: Wanted = None) -> Iterator[RawSession]:
    """Yield the sessions of a file whose outline was read, in their order."""
    parent_depth = 1 if outline.format == "chatgpt" else 2
    depth = 0
    index = 0
    key = ""
    builder: _Builder | None = None
    for event, value in _events(file):
        if event in _ENDS:
            depth -= 1
        if builder is not None:
            builder.feed(event, value)
        elif event == "map_key" and depth == 1:
            key = value
        elif depth == parent_depth and event not in _ENDS and (outline.format == "chatgpt" or key == "sessions"):
            builder = _Builder(wanted)
            builder.feed(event, value)
        if event in _STARTS:
            depth += 1
        if builder is not None and depth == parent_depth:
            yield RawSession(index, None if builder.problem else builder.root, builder.problem)
            index += 1
            builder = None


def _events(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    file.seek(0)
    if file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
        file.seek(0)
    try:
        # Without `use_float`, ijson 3.6.0 crashes on integers with more than 4300 digits, which Python refuses to read.
        yield from ijson.basic_parse(SurrogateFilter(file), use_float=True)
    except (ijson.JSONError, UnicodeDecodeError):
        raise BadRequestError(
            "The file is not valid JSON, or has numbers of more than 64 bits.", code="invalid_json"
        ) from None


@dataclass(slots=True)
class _OutlineReader:
    """Recognizes the format from the outer levels of the file."""

    depth: int = 0
    events: int = 0
    session_count: int = 0
    is_list: bool | None = None
    key: str = ""
    header: dict[str, object] = field(default_factory=dict)
    session_lists: int = 0

    def feed(self, event: str, value: object) -> None:
        self.events += 1
        if self.events > _MAX_EVENTS:
            raise UnprocessableError("The file has too many values.", code="import_too_large")
        if event in _ENDS:
            self.depth -= 1
        elif event == "map_key":
            if self.depth == 1:
                self.key = str(value)
        else:
            self._start_value(event, value)
        if event in _STARTS:
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise UnprocessableError("The file is nested too deeply.", code="import_nested_too_deep")

    def _start_value(self, event: str, value: object) -> None:
        if self.depth == 0:
            self.is_list = event == "start_array" if event in _STARTS else None
        elif self.depth == 1 and self.is_list:
            self._count_session()
        elif self.depth == 1:
            if event == "start_array" and self.key == "sessions":
                self.session_lists += 1
            elif event not in _STARTS:
                self.header[self.key[:100]] = value if len(self.header) < _MAX_DEPTH else None
        elif self.depth == 2 and not self.is_list and self.key == "sessions":  # noqa: PLR2004 - object, list
            self._count_session()

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
        return FileOutline("conversations", self.session_count)


@dataclass(slots=True)
class _Level:
    """An object or list under construction."""

    container: dict[str, Any] | list[Any]
    wanted: Wanted
    key: str = ""


@dataclass(slots=True)
class _Builder:
    """Builds one value from events, without the fields that are not wanted."""

    wanted: Wanted
    root: Any = None
    problem: LeftOutReason | None = None
    size: int = 0
    skipped_depth: int = 0
    levels: list[_Level] = field(default_factory=list)

    def feed(self, event: str, value: Any) -> None:  # noqa: ANN401 - a value of JSON
        if self.problem:
            return
        if self.skipped_depth:
            self.skipped_depth += (event in _STARTS) - (event in _ENDS)
        elif event == "map_key":
            self._set_key(value)
        elif event in _ENDS:
            self.levels.pop()
        elif not self._is_wanted():
            self.skipped_depth = int(event in _STARTS)
        else:
            self._add(event, value)

    def _set_key(self, key: str) -> None:
        level = self.levels[-1]
        level.key = key
        self._grow(len(key))
        if key in level.container:
            self._fail("duplicate_key")

    def _is_wanted(self) -> bool:
        if not self.levels:
            return True
        level = self.levels[-1]
        name = "*" if isinstance(level.container, list) else level.key
        return level.wanted is None or name in level.wanted or "*" in level.wanted

    def _add(self, event: str, value: Any) -> None:  # noqa: ANN401 - a value of JSON
        self._grow(len(value) * _bytes_per_character(value) if isinstance(value, str) else 0)
        wanted = self._wanted_below()
        if event in _STARTS:
            value = {} if event == "start_map" else []
        self._append(value)
        if event in _STARTS:
            self.levels.append(_Level(value, wanted))

    def _wanted_below(self) -> Wanted:
        if not self.levels:
            return self.wanted
        level = self.levels[-1]
        if level.wanted is None:
            return None
        name = "*" if isinstance(level.container, list) else level.key
        return level.wanted[name] if name in level.wanted else level.wanted["*"]

    def _append(self, value: Any) -> None:  # noqa: ANN401 - a value of JSON
        if not self.levels:
            self.root = value
            return
        level = self.levels[-1]
        if isinstance(level.container, list):
            level.container.append(value)
        else:
            level.container[level.key] = value

    def _grow(self, size: int) -> None:
        self.size += size + _VALUE_SIZE
        if self.size > MAX_SESSION_SIZE:
            self._fail("session_too_large")

    def _fail(self, reason: LeftOutReason) -> None:
        self.problem = reason
        self.root = None
        self.levels.clear()


def _bytes_per_character(text: str) -> int:
    if text.isascii():
        return 1
    return 4 if max(text) > "\uffff" else 2
