"""Redis keys of data that contains user text: stream buffers and cached answers, with their deletion.

All of these keys expire.
"""

import math
from typing import Final, NamedTuple
from uuid import UUID

from app.core.turn_duration import TURN_DURATION_LIMIT

TOMBSTONE_SECONDS: Final = int(TURN_DURATION_LIMIT.total_seconds())
"""Lifetime of a tombstone of a deletion: longer than any turn that started before the deletion."""
_RECOVERY_SECONDS: Final = 240
"""Seconds for storing an answer, or for the recovery of a turn whose process was killed, which reads its buffer."""


def stream_key(answer_uuid: UUID) -> str:
    """Return the key of an answer's stream buffer."""
    return f"turn:{answer_uuid}"


def reasoning_key(answer_uuid: UUID) -> str:
    """Return the key of the reasoning of an answer that is being generated."""
    return f"{stream_key(answer_uuid)}:reasoning"


def stream_tombstone(answer_uuid: UUID) -> str:
    """Return the key of the tombstone of a deleted answer: its stream buffer is not created again while it exists."""
    return f"{stream_key(answer_uuid)}:deleted"


def buffer_lifetime(max_streamed_seconds: float) -> int:
    """Return the lifetime in seconds of the buffers of an unfinished turn: longer than any turn may take."""
    return math.ceil(max_streamed_seconds) + _RECOVERY_SECONDS


class CacheIndex(NamedTuple):
    """Keys of the index of the cached answers that hold text of a user or of a session."""

    entries: str
    """Key of a sorted set of the keys of cached answers, scored by their expiry in milliseconds."""
    deleted: str
    """Key of the tombstone of a deleted user or session: nothing may be added to the index while it exists."""


def cache_index_of_user(user_uuid: UUID) -> CacheIndex:
    """Return the index of the cached answers that a user received."""
    return _cache_index(f"user:{user_uuid}")


def cache_index_of_session(session_uuid: UUID) -> CacheIndex:
    """Return the index of the cached answers in a session."""
    return _cache_index(f"session:{session_uuid}")


def _cache_index(owner: str) -> CacheIndex:
    return CacheIndex(entries=f"{owner}:cache", deleted=f"{owner}:deleted")
