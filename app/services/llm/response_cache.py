"""Response cache: complete answers of models, in Redis.

A key consists of the version of the format, the owner, and a SHA-256 of the request. The entry repeats owner and key,
and both are compared after a read, so that a wrong reply of Redis cannot disclose an answer to another user.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from app.graph.ports.chat_model import Completion, ModelRequest, ModelTokenCounts, TurnOwner
from app.services.redis.keys import CacheIndex, cache_index_of_session, cache_index_of_user
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError

logger = logging.getLogger(__name__)

CacheScope = Literal["user", "global"]

_VERSION = 1
"""Version of the format. Increase it to invalidate all existing entries."""
_MAX_TEXT_LENGTH = 100_000
"""Maximum length of a cached answer in characters."""
_REPLACEMENT = "\ufffd"
"""U+FFFD, which stands for invalid text from the provider."""

# Both scripts take the key of the answer, then the two keys of `CacheIndex` for each index that must list it. They are
# scripts because the check for a deletion and the addition to an index must be atomic.
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
    """Cached answer, as stored in Redis."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    key: str
    user: UUID | None
    """Owner. None: the answer is shared by all users."""
    text: str
    model: str
    finish_reason: Literal["stop"]
    prompt_tokens: int
    completion_tokens: int


class ResponseCache:
    """Cache of complete answers. It does not raise: while Redis is unavailable, it finds and stores nothing."""

    def __init__(
        self,
        breaker: RedisCircuitBreaker,
        *,
        seconds: int,
        scope: CacheScope,
        fingerprint: Callable[[str], str] = lambda _model: "",
    ) -> None:
        """`seconds`: lifetime of an entry. `scope`: whether entries are per user or shared by all users.

        `fingerprint` takes the name of a model, and returns a text that differs where another provider or other
        settings of the model may give another answer.
        """
        self._fingerprint = fingerprint
        self._breaker = breaker
        self._milliseconds = seconds * 1000
        self._scope = scope
        self._find_script, self._store_script = breaker.script(_FIND_SCRIPT), breaker.script(_STORE_SCRIPT)

    def key(self, request: ModelRequest) -> str:
        """Return the key of a request's answer. Requests with equal keys can share an answer."""
        content = json.dumps(
            {
                "model": request.model,
                "provider": self._fingerprint(request.model),
                "parameters": request.parameters.without_none(),
                "messages": list(request.messages),
                **({"options": dict(request.options)} if request.options else {}),
            },
            sort_keys=True,
            separators=(",", ":"),
        )
        scope = "global" if self._scope == "global" else f"user:{request.owner.user_uuid}"
        return f"answer:{_VERSION}:{scope}:{hashlib.sha256(content.encode()).hexdigest()}"

    async def find(self, key: str, owner: TurnOwner) -> Completion | None:
        """Return the cached answer, and add it to the indexes of the owner. None: there is none."""
        try:
            async with self._breaker.guard():
                value = await self._find_script(keys=_keys(key, [owner]))
        except RedisUnavailableError:
            return None
        if value is None:
            return None
        try:
            entry = _Entry.model_validate_json(value)
        except ValidationError:
            logger.warning("cached answer invalid")
            return None
        if entry.key != key or entry.user != self._user(owner):
            logger.error("cached answer mismatch")
            return None
        return Completion(
            text=entry.text,
            model=entry.model,
            finish_reason=entry.finish_reason,
            token_counts=ModelTokenCounts(entry.prompt_tokens, entry.completion_tokens),
            is_cached=True,
        )

    async def store(self, key: str, owners: Iterable[TurnOwner], completion: Completion) -> None:
        """Store an answer for its owners, if it is cacheable and none of them has been deleted."""
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
                await self._store_script(keys=_keys(key, owners), args=[entry.model_dump_json(), self._milliseconds])
        except RedisUnavailableError:
            return

    def _user(self, owner: TurnOwner) -> UUID | None:
        return None if self._scope == "global" else owner.user_uuid


def _is_cacheable(completion: Completion) -> bool:
    """Return whether an answer is certainly complete and unaltered.

    A truncated or filtered one has another finish reason, one without token counts may be incomplete, and a repaired
    one differs from the text of the model.
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
