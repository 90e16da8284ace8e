"""Answers that models gave before, in Redis.

The key is the version of the format, whose answer it is, and a SHA-256 of all that the model was asked. The value says
once more whose it is and what its key is, and both are checked: the answer to somebody else is no answer, however it
got here.
"""

import hashlib
import json
import logging
from collections.abc import Iterable
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from app.graph.ports.chat_model import Completion, ModelRequest, TokenCounts, TurnOwner
from app.services.redis.circuit_breaker import RedisCircuitBreaker, RedisUnavailableError
from app.services.redis.keys import CacheIndex, cache_index_of_session, cache_index_of_user

logger = logging.getLogger(__name__)

Scope = Literal["user", "global"]

_VERSION = 1
"""To be raised when entries of before must not be read any more."""
_MAX_TEXT_LENGTH = 100_000
"""Characters of an answer that is cached."""
_REPLACEMENT = "\ufffd"
"""Stands where a provider sent what is no text."""

# Both scripts get the name of the answer, and then for each index that is to list it the two keys of `CacheIndex`. They
# are scripts because nothing may come between looking for the mark of a deletion and adding to an index.
_SCRIPT_PREAMBLE = """
for i = 3, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i]) == 1 then return false end
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function enter(milliseconds)
  for i = 2, #KEYS, 2 do
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
    redis.call('ZADD', KEYS[i], now + milliseconds, KEYS[1])
    if redis.call('PTTL', KEYS[i]) < milliseconds then redis.call('PEXPIRE', KEYS[i], milliseconds) end
  end
end
"""
_FIND_SCRIPT = f"""{_SCRIPT_PREAMBLE}
local value = redis.call('GET', KEYS[1])
if value then enter(redis.call('PTTL', KEYS[1])) end
return value
"""
_STORE_SCRIPT = f"""{_SCRIPT_PREAMBLE}
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
enter(tonumber(ARGV[2]))
return 1
"""


class _Entry(BaseModel):
    """What is stored of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    key: str
    user: UUID | None
    """None: it may be given to everybody."""
    text: str
    model: str
    finish_reason: Literal["stop"]
    prompt_tokens: int
    completion_tokens: int


class ResponseCache:
    """Keeps whole answers for some time. It never fails: while Redis is away it knows nothing and keeps nothing."""

    def __init__(self, breaker: RedisCircuitBreaker, *, seconds: int, scope: Scope) -> None:
        """`scope`: whether an answer is given to its own user only, or to everybody who asks the same."""
        self._breaker = breaker
        self._milliseconds = seconds * 1000
        self._scope = scope
        self._find, self._store = breaker.script(_FIND_SCRIPT), breaker.script(_STORE_SCRIPT)

    def key(self, request: ModelRequest) -> str:
        """Name the answer to a request. Requests have the same name only if their answers may be exchanged."""
        asked = json.dumps(
            {
                "model": request.model,
                "parameters": request.parameters.without_none(),
                "messages": list(request.messages),
            },
            sort_keys=True,
            separators=(",", ":"),
        )
        whose = "global" if self._scope == "global" else f"user:{request.owner.user_uuid}"
        return f"answer:{_VERSION}:{whose}:{hashlib.sha256(asked.encode()).hexdigest()}"

    async def find(self, key: str, owner: TurnOwner) -> Completion | None:
        """Return an answer that may be given to its asker, and note that they have it."""
        try:
            async with self._breaker.guard():
                value = await self._find(keys=_keys(key, [owner]))
        except RedisUnavailableError:
            return None
        if value is None:
            return None
        try:
            entry = _Entry.model_validate_json(value)
        except ValidationError:
            logger.warning("cached answer is not readable")
            return None
        if entry.key != key or entry.user != self._user(owner):
            logger.error("cached answer is another's")
            return None
        return Completion(
            text=entry.text,
            model=entry.model,
            finish_reason=entry.finish_reason,
            token_counts=TokenCounts(entry.prompt_tokens, entry.completion_tokens),
            is_cached=True,
        )

    async def store(self, key: str, owners: Iterable[TurnOwner], completion: Completion) -> None:
        """Keep an answer that has been given to these, if it is a good one and none of them has been deleted."""
        owners = set(owners)
        if not owners or not _is_cacheable(completion):
            return
        entry = _Entry(
            key=key,
            user=self._user(next(iter(owners))),
            text=completion.text,
            model=completion.model,
            finish_reason="stop",
            prompt_tokens=completion.token_counts.prompt_tokens,
            completion_tokens=completion.token_counts.completion_tokens,
        )
        try:
            async with self._breaker.guard():
                await self._store(keys=_keys(key, owners), args=[entry.model_dump_json(), self._milliseconds])
        except RedisUnavailableError:
            return

    def _user(self, owner: TurnOwner) -> UUID | None:
        return None if self._scope == "global" else owner.user_uuid


def _is_cacheable(completion: Completion) -> bool:
    """Tell whether an answer is whole beyond doubt.

    One that was cut off or filtered has another finish reason; without a count of tokens the provider may have broken
    off; and what was repaired is not what the model said.
    """
    return (
        completion.finish_reason == "stop"
        and not completion.token_counts.is_estimated
        and not completion.is_cached
        and not completion.is_repaired
        and len(completion.text) <= _MAX_TEXT_LENGTH
        and _REPLACEMENT not in completion.text
    )


def _keys(key: str, owners: Iterable[TurnOwner]) -> list[str]:
    indexes: set[CacheIndex] = set()
    for owner in owners:
        indexes.add(cache_index_of_user(owner.user_uuid))
        if owner.session_uuid is not None:
            indexes.add(cache_index_of_session(owner.session_uuid))
    return [key, *(name for index in indexes for name in index)]
