"""Redis keys of data that contains user text: stream buffers and cached answers, with their deletion.

All of these keys expire.
"""

from typing import NamedTuple
from uuid import UUID


def stream_key(answer_uuid: UUID) -> str:
    """Return the key of an answer's stream buffer."""
    return f"turn:{answer_uuid}"


def reasoning_key(answer_uuid: UUID) -> str:
    """Return the key of the reasoning of an answer that is being generated."""
    return f"{stream_key(answer_uuid)}:reasoning"


def stream_tombstone(answer_uuid: UUID) -> str:
    """Return the key of the tombstone of a deleted answer: its stream buffer is not created again while it exists."""
    return f"{stream_key(answer_uuid)}:deleted"


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
