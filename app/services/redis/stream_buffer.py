"""Stream buffer: the text of running turns in Redis, for processes that do not run them.

Each turn has a Redis stream `turn:{answer}`. An entry `{n}-0` with the field `text` extends the text to `n` characters,
so that its position follows from its id and its length. An entry `{n}-1` with the field `end` means that the answer has
been stored. Redis may lose entries at any time: readers detect the gap and use PostgreSQL.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from uuid import UUID

from pydantic_core import to_json
from redis.asyncio import Redis

from app.services.redis.client import REDIS_ERRORS
from app.services.redis.keys import stream_key
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError

FINISHED_TTL = 300
"""Lifetime of the buffer of a finished turn in seconds."""
_MAX_TEXT_LENGTH = 262_144
"""Maximum length of a buffered answer in characters. Longer ones are removed."""

# One command for the changes of all turns: a command for each took a quarter of the CPU time of a token. It returns the
# keys of turns whose earlier text is missing. The keys are in ARGV, so the script does not work with Redis Cluster.
_WRITE_SCRIPT = """
local lost = {}
for _, change in ipairs(cjson.decode(ARGV[1])) do
    local key, is_new, length, text, is_over, life = unpack(change)
    local id = string.format('%d', length)
    local is_deleted = false
    if is_new then
        redis.call('DEL', key)
        is_deleted = redis.call('EXISTS', key .. ':deleted') == 1
    end
    -- Without the earlier text a later piece cannot be used.
    local is_there = is_new or redis.call('EXISTS', key) == 1
    if not is_there then
        lost[#lost + 1] = key
    elseif life > 0 and not is_deleted then
        if text ~= '' then
            redis.call('XADD', key, id .. '-0', 'text', text)
        end
        if is_over then
            redis.call('XADD', key, id .. '-1', 'end', '')
        end
        if is_new or is_over then
            redis.call('EXPIRE', key, life)
        end
    end
end
return lost
"""


class StreamSnapshot(NamedTuple):
    """Current text and state of a turn."""

    key: str
    """Key of its stream, from `keys.stream_key`: computed once, not for every token."""
    text: str
    """The whole text so far."""
    is_over: bool
    """Whether the answer has been stored."""
    is_deleted: bool = False
    """Whether its owner has deleted it: then the buffer is also deleted."""


@dataclass(frozen=True, slots=True)
class BufferedText:
    """Result of a read: the text after a position."""

    text: str = ""
    is_over: bool = False
    has_gap: bool = False
    """Whether text after the position is missing, or Redis is unavailable."""


class StreamBuffer:
    """Writes the turns of this process, and reads those of all processes."""

    def __init__(self, breaker: RedisCircuitBreaker, blocking_redis: Redis, *, lifetime: int) -> None:
        """`blocking_redis`: client whose reads may block.

        `lifetime`: seconds for which the buffer of an unfinished turn exists, from `keys.buffer_lifetime`.
        """
        self._breaker = breaker
        self._blocking_redis = blocking_redis
        self._lifetime = lifetime
        self._write_script = breaker.script(_WRITE_SCRIPT)
        self._written: dict[str, int] = {}
        self._outages_seen = breaker.outages

    async def write(self, snapshots: Sequence[StreamSnapshot]) -> None:
        """Write the new text of turns.

        It does not raise, and takes at most twice the budget of the circuit breaker. While Redis is unavailable it
        writes nothing; the next successful write includes the missing text.
        """
        for _ in range(2):
            if self._outages_seen != self._breaker.outages:
                # Text written before the outage may be lost or incomplete.
                self._outages_seen = self._breaker.outages
                self._written.clear()
            try:
                async with self._breaker.guard():
                    lost = await self._try_to_write(snapshots)
            except RedisUnavailableError:
                self._forget(snapshot.key for snapshot in snapshots)
                return
            # Redis lost its data. The next write includes the whole text; a finished turn has no next one.
            self._forget(snapshot.key for snapshot in lost)
            snapshots = [snapshot for snapshot in lost if snapshot.is_over]
            if not snapshots:
                return

    async def read(self, turn_id: UUID, *, after: int, wait: float) -> BufferedText:
        """Return the text of a turn after a position. If there is none yet, wait for it up to `wait` seconds."""
        if self._breaker.is_open:
            return BufferedText(has_gap=True)
        try:
            async with asyncio.timeout(wait + self._breaker.budget):
                reply = await self._blocking_redis.xread(
                    {stream_key(turn_id): f"{after}-0"}, block=round(wait * 1000) or None
                )
        except REDIS_ERRORS:
            return BufferedText(has_gap=True)
        streams = cast("dict[bytes, list[Any]] | list[Any]", reply)
        if not streams:
            return BufferedText()
        ((_, entries),) = streams.items() if isinstance(streams, dict) else streams
        # With protocol version 3 the client wraps the entries of a stream in another list.
        entries = entries[0] if entries and isinstance(entries[0], list) else entries
        try:
            return _buffered_text(entries, after)
        except ValueError:
            return BufferedText(has_gap=True)  # not written by this class

    async def published_text(self, turn_id: UUID) -> str | None:
        """Return the text of a turn as far as it is buffered. None: Redis is unavailable."""
        buffered = await self.read(turn_id, after=0, wait=0)
        return None if buffered.has_gap and not buffered.text else buffered.text

    async def _try_to_write(self, snapshots: Sequence[StreamSnapshot]) -> list[StreamSnapshot]:
        """Write the snapshots. Return those whose earlier text is missing."""
        changes = [self._change(snapshot) for snapshot in snapshots]
        lost = set(await self._write_script(args=[to_json(changes)]))
        for snapshot in snapshots:
            if snapshot.is_over or len(snapshot.text) > _MAX_TEXT_LENGTH:
                self._written.pop(snapshot.key, None)
            else:
                self._written[snapshot.key] = len(snapshot.text)
        return [snapshot for snapshot in snapshots if snapshot.key.encode() in lost] if lost else []

    def _change(self, snapshot: StreamSnapshot) -> tuple[str, bool, int, str, bool, int]:
        """Return the arguments of the script for a turn: key, is_new, length, new text, is_over, lifetime."""
        key, text, is_over, is_deleted = snapshot
        written = self._written.get(key)
        if is_deleted or len(text) > _MAX_TEXT_LENGTH:
            return key, True, 0, "", False, 0
        life = FINISHED_TTL if is_over else self._lifetime
        return key, written is None, len(text), text[written or 0 :], is_over, life

    def _forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._written.pop(key, None)


def _buffered_text(entries: Iterable[tuple[bytes, dict[bytes, bytes]]], after: int) -> BufferedText:
    pieces: list[str] = []
    position = after
    for entry_id, fields in entries:
        end = int(entry_id.partition(b"-")[0])
        if b"text" in fields:
            text = fields[b"text"].decode()
            start = end - len(text)
            if start > position:
                return BufferedText("".join(pieces), has_gap=True)
            pieces.append(text[position - start :])
            position = end
        else:
            return BufferedText("".join(pieces), is_over=end == position, has_gap=end != position)
    return BufferedText("".join(pieces))
