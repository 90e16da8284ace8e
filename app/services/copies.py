"""What Redis holds of an account besides PostgreSQL: streams of answers and cached answers, all of them with an end.

The names of the keys are here, so that whoever writes such a copy and whoever erases it mean the same one.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

_BATCH = 500
"""Keys in one command: Redis serves nobody else meanwhile."""
_BUDGET = 2.0
"""Seconds for all of it. What is left then expires by itself."""


def stream_key(answer_uuid: UUID) -> str:
    """Name the stream of an answer that is, or was just, being made."""
    return f"turn:{answer_uuid}"


def cache_index_key(user_uuid: UUID) -> str:
    """Name the set of the keys under which answers to a user are cached."""
    return f"user:{user_uuid}:cache"


@dataclass(frozen=True, slots=True)
class ErasedCopies:
    """How many there were."""

    stream_buffers: int
    cached_answers: int


async def erase(redis: Redis, *, user_uuid: UUID, answers: Sequence[UUID]) -> ErasedCopies | None:
    """Remove the copies of a user's answers. None: Redis did not answer in time, and some may be left to expire."""
    try:
        async with asyncio.timeout(_BUDGET):
            buffers = 0
            for batch in _batches(answers):
                buffers += await redis.unlink(*map(stream_key, batch))
            cached = 0
            # Out of the set first: what is added meanwhile is found in the next round.
            while names := await redis.spop(cache_index_key(user_uuid), _BATCH):
                cached += await redis.unlink(*names)
    except (RedisError, OSError, TimeoutError):
        return None
    return ErasedCopies(stream_buffers=buffers, cached_answers=cached)


def _batches(answers: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(answers), _BATCH):
        yield answers[start : start + _BATCH]
