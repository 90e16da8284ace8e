"""Moving-window counters of requests, in Redis and in memory.

They use the data format of the library `limits`, and add atomic checks of several windows: a request that one of them
refuses is counted in none. The library would need four round trips, and refused requests of one client would use up the
window that it shares with its network.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis

_MAX_CLIENTS = 10_000
"""Maximum number of clients that are counted in memory. With more, all counters are reset."""
_HIT_ALL_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local length = tonumber(ARGV[1])
local refused = 0
for i, key in ipairs(KEYS) do
    local oldest = redis.call('LINDEX', key, -1)
    while oldest and tonumber(oldest) <= now - length do
        redis.call('RPOP', key)
        oldest = redis.call('LINDEX', key, -1)
    end
    if refused == 0 and redis.call('LLEN', key) >= tonumber(ARGV[i + 1]) then
        refused = i
    end
end
if refused == 0 then
    for _, key in ipairs(KEYS) do
        redis.call('LPUSH', key, string.format('%.6f', now))
        redis.call('EXPIRE', key, length)
    end
end
local decisive = KEYS[math.max(refused, 1)]
local wait = redis.call('LINDEX', decisive, -1) + length - now
return {refused, redis.call('LLEN', decisive), string.format('%.3f', wait)}
"""
"""KEYS: the windows. ARGV: their length in seconds, then the limit of each. The time is that of Redis."""


@dataclass(frozen=True, slots=True)
class Window:
    """Window of the requests of one client under one limit."""

    policy: RateLimitItem
    """Limit and length. Windows that are checked together have the same length."""
    client: str


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """State of a window after a request."""

    window: Window
    is_refused: bool
    remaining: int
    reset_after: int
    """Seconds until one more request is allowed; at least 1."""


class RedisMovingWindows(RedisStorage):
    """Windows in Redis, shared by all processes."""

    def __init__(self, redis: Redis) -> None:
        """Use the connection pool of a client, with its timeouts."""
        pool: Any = redis.connection_pool
        super().__init__("redis://", implementation="redispy", key_prefix="limits", connection_pool=pool)
        self._hit_all = redis.register_script(_HIT_ALL_SCRIPT)

    async def hit_all(self, windows: Sequence[Window]) -> LimitStatus:
        """Count a request in all windows or in none. Return the state of the window that refuses it, else the first."""
        keys = [self.bridge.prefixed_key(window.policy.key_for(window.client)) for window in windows]
        length = windows[0].policy.get_expiry()
        refused, count, wait = await self._hit_all(keys, [length, *(window.policy.amount for window in windows)])
        decisive = windows[max(refused - 1, 0)]
        return _limit_status(decisive, decisive.policy.amount - count, float(wait), is_refused=refused > 0)


class InMemoryMovingWindows:
    """Windows in memory, for this process only."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        # Not the library's asynchronous storage, which uses a thread for each window to remove expired requests.
        self._storage = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)

    def hit_all(self, windows: Sequence[Window]) -> LimitStatus:
        """See `RedisMovingWindows.hit_all`."""
        if len(self._storage.events) > _MAX_CLIENTS:
            self._reset()  # the library never removes a client, and iterates over all of them repeatedly
        for window in windows:
            if not self._limiter.test(window.policy, window.client):
                return self._status(window, is_refused=True)
        for window in windows:
            self._limiter.hit(window.policy, window.client)
        return self._status(windows[0], is_refused=False)

    def _status(self, window: Window, *, is_refused: bool) -> LimitStatus:
        stats = self._limiter.get_window_stats(window.policy, window.client)
        return _limit_status(window, stats.remaining, stats.reset_time - time(), is_refused=is_refused)


def _limit_status(window: Window, remaining: int, wait: float, *, is_refused: bool) -> LimitStatus:
    return LimitStatus(window, is_refused, max(remaining, 0), max(math.ceil(wait), 1))
