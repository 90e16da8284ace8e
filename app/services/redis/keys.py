"""What Redis holds of an account besides PostgreSQL: streams of answers and cached answers, all of them with an end.

The names of the keys are here, so that whoever writes such a copy and whoever erases it mean the same one.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from redis.asyncio import Redis

from app.services.redis.client import REDIS_ERRORS

_BATCH = 500
"""Keys in one command: Redis serves nobody else meanwhile."""
_PURGE_TIMEOUT = 2.0
"""Seconds for all of it. What is left then expires by itself."""
_TOMBSTONE_SECONDS = 7200
"""How long it is remembered that something was deleted: longer than a turn may run that began before."""


def stream_key(answer_uuid: UUID) -> str:
    """Name the stream of an answer that is, or was just, being made."""
    return f"turn:{answer_uuid}"


class CacheIndex(NamedTuple):
    """Where it says which cached answers hold text of a user, or of a session."""

    entries: str
    """The key of a sorted set: names of cached answers, by the time at which they expire."""
    deleted: str
    """The key of a mark: the user or the session is gone, and nothing may be added any more."""


def cache_index_of_user(user_uuid: UUID) -> CacheIndex:
    """Name the index of all cached answers that a user got."""
    return _cache_index(f"user:{user_uuid}")


def cache_index_of_session(session_uuid: UUID) -> CacheIndex:
    """Name the index of the cached answers that were given in a session."""
    return _cache_index(f"session:{session_uuid}")


def _cache_index(whose: str) -> CacheIndex:
    return CacheIndex(entries=f"{whose}:cache", deleted=f"{whose}:deleted")


@dataclass(frozen=True, slots=True)
class PurgedCopies:
    """How many there were."""

    stream_buffers: int
    cached_answers: int


async def purge_user(redis: Redis, *, user_uuid: UUID, answers: Sequence[UUID]) -> PurgedCopies | None:
    """Remove the copies of a user's answers. None: Redis did not answer in time, and some may be left to expire."""
    try:
        async with asyncio.timeout(_PURGE_TIMEOUT):
            buffers = 0
            for batch in _batches(answers):
                buffers += await redis.unlink(*map(stream_key, batch))
            cached = await purge_index(redis, cache_index_of_user(user_uuid))
    except REDIS_ERRORS:
        return None
    return PurgedCopies(stream_buffers=buffers, cached_answers=cached)


async def purge_index(redis: Redis, index: CacheIndex) -> int:
    """Remove the cached answers of a user or a session that has been deleted. Return how many there were.

    An answer that was being made meanwhile is not cached any more. It may be repeated after it was cut off.
    """
    async with redis.pipeline(transaction=False) as pipeline:
        # First of all: what is added before is found, and after it nothing is added.
        pipeline.execute_command("SET", index.deleted, 1, "EX", _TOMBSTONE_SECONDS)
        pipeline.execute_command("ZRANGE", index.entries, 0, _BATCH - 1)
        _, names = await pipeline.execute()
    erased = 0
    while names:
        erased += await redis.unlink(*names)
        # Out of the index last, so that who is cut off here finds them again.
        await redis.zrem(index.entries, *names)
        names = await redis.zrange(index.entries, 0, _BATCH - 1)
    return erased


def _batches(answers: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(answers), _BATCH):
        yield answers[start : start + _BATCH]
