"""Reasoning of running turns in Redis, for processes that do not run them.

A key holds all of the reasoning so far, whose length the caller bounds. If Redis loses it, it is written again as a
whole.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast
from uuid import UUID

from pydantic_core import to_json

from app.services.redis.keys import reasoning_key, stream_tombstone
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError

# It returns the numbers of the pieces whose earlier text is missing. The keys are in ARGV, as in the stream buffer.
_WRITE_SCRIPT = """
local lost = {}
for number, change in ipairs(cjson.decode(ARGV[1])) do
    local key, tombstone, start, text = unpack(change)
    if redis.call('EXISTS', tombstone) == 0 then
        if start == 0 then
            redis.call('SET', key, text, 'EX', ARGV[2])
        elseif redis.call('STRLEN', key) == start then
            redis.call('APPEND', key, text)
            redis.call('EXPIRE', key, ARGV[2])
        else
            lost[#lost + 1] = number - 1
        end
    end
end
return lost
"""


class ReasoningPiece(NamedTuple):
    """The next piece of the reasoning of a turn."""

    turn_id: UUID
    start: int
    """Number of bytes before it. 0: the piece is all of the reasoning so far."""
    text: str


class ReasoningBuffer:
    """Writes the reasoning of this process's turns, and reads that of all processes. It does not raise."""

    def __init__(self, breaker: RedisCircuitBreaker, *, lifetime: int) -> None:
        """`lifetime`: seconds for which reasoning exists after its last piece, from `keys.buffer_lifetime`."""
        self._breaker = breaker
        self._lifetime = lifetime
        self._write_script = breaker.script(_WRITE_SCRIPT)

    async def write(self, pieces: Sequence[ReasoningPiece]) -> list[ReasoningPiece]:
        """Write the pieces. Return those that were not written because Redis is unavailable or has lost the start."""
        changes = [
            (reasoning_key(piece.turn_id), stream_tombstone(piece.turn_id), piece.start, piece.text) for piece in pieces
        ]
        try:
            async with self._breaker.guard():
                lost = await self._write_script(args=[to_json(changes), self._lifetime])
        except RedisUnavailableError:
            return list(pieces)
        return [pieces[number] for number in lost]

    async def read(self, turn_id: UUID, *, start: int) -> bytes:
        """Return the reasoning of a turn from a byte position, which is empty while Redis is unavailable."""
        try:
            async with self._breaker.guard() as redis:
                found = await redis.getrange(reasoning_key(turn_id), start, -1)
        except RedisUnavailableError:
            return b""
        return cast("bytes", found)
