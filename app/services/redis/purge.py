"""Deletion of the data of users and sessions that have been deleted."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from redis.asyncio import Redis

from app.services.redis.client import REDIS_ERRORS
from app.services.redis.keys import (
    TOMBSTONE_SECONDS,
    CacheIndex,
    cache_index_of_user,
    reasoning_key,
    stream_key,
    stream_tombstone,
)

_BATCH = 500
"""Maximum number of keys in one command, because Redis runs one command at a time."""

_PURGE_TIMEOUT = 2.0
"""Timeout of a purge in seconds. Keys that remain expire automatically."""


@dataclass(frozen=True, slots=True)
class PurgedCopies:
    """Number of deleted keys."""

    stream_buffers: int
    cached_answers: int


async def purge_user(redis: Redis, *, user_uuid: UUID, answers: Sequence[UUID]) -> PurgedCopies | None:
    """Delete all stream buffers and cached answers of a user.

    `answers`: the answers whose stream buffers may exist. None: Redis failed or timed out; keys that remain expire.
    """
    try:
        async with asyncio.timeout(_PURGE_TIMEOUT):
            buffers = await purge_streams(redis, answers)
            cached = await purge_indexes(redis, cache_index_of_user(user_uuid))
    except REDIS_ERRORS:
        return None
    return PurgedCopies(stream_buffers=buffers, cached_answers=cached)


async def purge_streams(redis: Redis, answers: Sequence[UUID]) -> int:
    """Delete the stream buffers of deleted answers, and return their number.

    The turn of an answer may still be running. It does not buffer its text again.
    """
    deleted = 0
    for batch in _batches(answers):
        async with redis.pipeline(transaction=False) as pipeline:
            for answer in batch:
                pipeline.execute_command("SET", stream_tombstone(answer), 1, "EX", TOMBSTONE_SECONDS)
            pipeline.execute_command("UNLINK", *map(reasoning_key, batch))
            pipeline.execute_command("UNLINK", *map(stream_key, batch))
            deleted += (await pipeline.execute())[-1]
    return deleted


async def purge_indexes(redis: Redis, *indexes: CacheIndex, is_deleted: bool = True) -> int:
    """Delete the cached answers of users or sessions. Return their number.

    If the users or sessions are deleted (`is_deleted`), it also prevents answers in progress from being cached later.
    It is safe to repeat after a failure.
    """
    if not indexes:
        return 0
    async with redis.pipeline(transaction=False) as pipeline:
        # The tombstones come first: entries added before one are in the range, and none can be added after it.
        if is_deleted:
            for index in indexes:
                pipeline.execute_command("SET", index.deleted, 1, "EX", TOMBSTONE_SECONDS)
        for index in indexes:
            pipeline.execute_command("ZRANGE", index.entries, 0, _BATCH - 1)
        results = (await pipeline.execute())[-len(indexes) :]
    erased = 0
    for index, names in zip(indexes, results, strict=True):
        remaining = names
        while remaining:
            erased += await redis.unlink(*remaining)
            # Removed from the index last, so that a repetition after a failure finds them again.
            await redis.zrem(index.entries, *remaining)
            remaining = await redis.zrange(index.entries, 0, _BATCH - 1)
    return erased


def _batches(answers: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(answers), _BATCH):
        yield answers[start : start + _BATCH]
