"""What running turns have said so far, in Redis, for processes that do not run them.

Of each turn there is a stream `turn:{answer}`. An entry `{n}-0` with the field `text` brings the text to `n`
characters, so that its place can be told from its id and its length; an entry `{n}-1` with the field `end` says that
the answer has been stored. Redis may lose any of it at any time: whoever reads notices, and PostgreSQL has the truth.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from uuid import UUID

from pydantic_core import to_json
from redis.asyncio import Redis

from app.services.redis.circuit_breaker import RedisCircuitBreaker, RedisUnavailableError
from app.services.redis.client import REDIS_ERRORS
from app.services.redis.keys import stream_key

FINISHED_TTL = 300
"""How long a finished turn stays."""
_UNFINISHED_TTL = 1200
"""How long a turn stays that never finishes: more than any turn may take."""
_MAX_TEXT_LENGTH = 262_144
"""Characters of one answer that are kept. Of a longer one nothing is."""

# One command and one reply for what all turns have said: packing a command for each, and reading its reply, took a
# quarter of all that this process does for a token. The keys come with the rest, so this is not for Redis Cluster.
# Returned are the keys of the turns whose earlier text is not there any more.
_STORE = """
local lost = {}
for _, change in ipairs(cjson.decode(ARGV[1])) do
    local key, is_new, length, text, is_over, life = unpack(change)
    local id = string.format('%d', length)
    if is_new then
        redis.call('DEL', key)
    end
    -- Where the rest is gone, a piece of it is of no use.
    local is_there = is_new or redis.call('EXISTS', key) == 1
    if not is_there then
        lost[#lost + 1] = key
    elseif life > 0 then
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
    """A turn as it is now."""

    key: str
    """Of its stream, as `copies.stream_key` names it: made once, and not for every token."""
    text: str
    """From the beginning."""
    is_over: bool
    """Whether the answer has been stored."""
    is_deleted: bool = False
    """Whether its owner has deleted it: nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class BufferedText:
    """What the buffer has after a position."""

    text: str = ""
    is_over: bool = False
    is_broken: bool = False
    """The text that follows the position is not there, although a later one is; or Redis is away."""


class StreamBuffer:
    """Writes turns that run here, and reads turns that run anywhere."""

    def __init__(self, breaker: RedisCircuitBreaker, blocking_redis: Redis) -> None:
        """Use two clients: the breaker's, whose commands are short, and one that may wait for what it reads."""
        self._breaker = breaker
        self._blocking_redis = blocking_redis
        self._store = breaker.script(_STORE)
        self._written: dict[str, int] = {}
        self._outages_seen = breaker.outages

    async def write(self, drafts: Sequence[StreamSnapshot]) -> None:
        """Write what is new in some turns.

        It never fails, and takes as long as its budget at most; as long as Redis is away, no time at all. What was not
        written then, is written with what follows.
        """
        for _ in range(2):
            if self._outages_seen != self._breaker.outages:
                # What was written before may be gone, or may be behind.
                self._outages_seen = self._breaker.outages
                self._written.clear()
            try:
                async with self._breaker.guard():
                    lost = await self._try_to_write(drafts)
            except RedisUnavailableError:
                self._forget(draft.key for draft in drafts)
                return
            # Redis was emptied. The next text makes up for it, if there is going to be one.
            self._forget(draft.key for draft in lost)
            drafts = [draft for draft in lost if draft.is_over]
            if not drafts:
                return

    async def read(self, turn_id: UUID, *, after: int, wait: float) -> BufferedText:
        """Return what a turn said after a position. Where there is nothing yet, wait for it, `wait` seconds at most."""
        if self._breaker.is_open:
            return BufferedText(is_broken=True)
        try:
            async with asyncio.timeout(wait + self._breaker.budget):
                found = await self._blocking_redis.xread(
                    {stream_key(turn_id): f"{after}-0"}, block=round(wait * 1000) or None
                )
        except REDIS_ERRORS:
            return BufferedText(is_broken=True)
        streams = cast("dict[bytes, list[Any]] | list[Any]", found)
        if not streams:
            return BufferedText()
        ((_, entries),) = streams.items() if isinstance(streams, dict) else streams
        # Protocol 3 wraps the entries of a stream in a list of their own.
        entries = entries[0] if entries and isinstance(entries[0], list) else entries
        try:
            return _buffered_text(entries, after)
        except ValueError:
            return BufferedText(is_broken=True)  # not what this class has written

    async def published_text(self, turn_id: UUID) -> str | None:
        """Return all that a turn has said as far as the buffer knows. None: Redis is away."""
        excerpt = await self.read(turn_id, after=0, wait=0)
        return None if excerpt.is_broken and not excerpt.text else excerpt.text

    async def _try_to_write(self, drafts: Sequence[StreamSnapshot]) -> list[StreamSnapshot]:
        """Return the drafts whose earlier text is not there any more."""
        changes = [self._change(draft) for draft in drafts]
        lost = set(await self._store(args=[to_json(changes)]))
        for draft in drafts:
            if draft.is_over or len(draft.text) > _MAX_TEXT_LENGTH:
                self._written.pop(draft.key, None)
            else:
                self._written[draft.key] = len(draft.text)
        return [draft for draft in drafts if draft.key.encode() in lost] if lost else []

    def _change(self, draft: StreamSnapshot) -> tuple[str, bool, int, str, bool, int]:
        """Return what the script takes for a turn: its key, whether it begins anew, and with what it goes on."""
        key, text, is_over, is_deleted = draft
        written = self._written.get(key)
        if is_deleted or len(text) > _MAX_TEXT_LENGTH:
            return key, True, 0, "", False, 0
        life = FINISHED_TTL if is_over else _UNFINISHED_TTL
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
                return BufferedText("".join(pieces), is_broken=True)
            pieces.append(text[position - start :])
            position = end
        else:
            return BufferedText("".join(pieces), is_over=end == position, is_broken=end != position)
    return BufferedText("".join(pieces))
