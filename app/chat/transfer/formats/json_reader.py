"""Streaming reader of import files: builds the sessions of a JSON file one at a time.

Memory is bounded by the largest session that is allowed, whatever the size of the file. The functions block, so they
run in a thread.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeAlias

from app.chat.transfer.formats.imported_session import MAX_SESSION_SIZE, LeftOutReason
from app.chat.transfer.formats.json_events import ENDS, STARTS, read_events
from app.chat.transfer.formats.outline import FileOutline

Wanted: TypeAlias = "Mapping[str, Wanted] | None"
"""Fields of an object that are read, `*` for all names and for the items of a list. None: everything below is read."""

_VALUE_SIZE = 64
"""Approximate size of a value in memory, apart from its text, in bytes."""


@dataclass(frozen=True, slots=True)
class RawSession:
    """One session of a file as parsed JSON."""

    index: int
    value: Any
    problem: LeftOutReason | None = None
    """Why the session was not read. Its value is None then."""


def read_sessions(file: IO[bytes], outline: FileOutline, wanted: Wanted = None) -> Iterator[RawSession]:
    """Yield the sessions of a file whose outline was read, in their order."""
    parent_depth = 1 if outline.format == "chatgpt" else 2
    depth = 0
    index = 0
    key = ""
    builder: _Builder | None = None
    for event, value in read_events(file):
        if event in ENDS:
            depth -= 1
        if builder is not None:
            builder.feed(event, value)
        elif event == "map_key" and depth == 1:
            key = value
        elif depth == parent_depth and event not in ENDS and (outline.format == "chatgpt" or key == "sessions"):
            builder = _Builder(wanted)
            builder.feed(event, value)
        if event in STARTS:
            depth += 1
        if builder is not None and depth == parent_depth:
            yield RawSession(index, None if builder.problem else builder.root, builder.problem)
            index += 1
            builder = None


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
            self.skipped_depth += (event in STARTS) - (event in ENDS)
        elif event == "map_key":
            self._set_key(value)
        elif event in ENDS:
            self.levels.pop()
        elif not self._is_wanted():
            self.skipped_depth = int(event in STARTS)
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
        if event in STARTS:
            value = {} if event == "start_map" else []
        self._append(value)
        if event in STARTS:
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
