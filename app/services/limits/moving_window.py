"""Windows in which requests are counted: of any length of time, and not of fixed minutes.

They are the moving windows of the library `limits`, in its own form. What is added: several windows are asked at once,
and a request that one of them refuses is counted in none. The library would ask Redis four times for that, and a client
that goes on after it was refused would use up the window that it shares with its neighbours.
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
"""Clients that a process counts by itself. With more of them, all begin anew."""
_HIT_ALL = """
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
local shown = KEYS[math.max(refused, 1)]
local wait = redis.call('LINDEX', shown, -1) + length - now
return {refused, redis.call('LLEN', shown), string.format('%.3f', wait)}
"""
"""KEYS: the windows. ARGV: their length in seconds, then how many requests each takes. By the clock of Redis."""


@dataclass(frozen=True, slots=True)
class Window:
    """One client's requests, as far as they are counted together."""

    policy: RateLimitItem
    """How many requests in how many seconds: the same number of seconds for all windows that are asked together."""
    client: str


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """A window after a request."""

    window: Window
    is_refused: bool
    remaining: int
    reset_after: int
    """Seconds until there is room for one request more; at least 1."""


class RedisMovingWindows(RedisStorage):
    """Windows that all processes share."""

    def __init__(self, redis: Redis) -> None:
        """Use the connections of a client, with its limits of time."""
        pool: Any = redis.connection_pool
        super().__init__("redis://", implementation="redispy", key_prefix="limits", connection_pool=pool)
        self._hit_all = redis.register_script(_HIT_ALL)

    async def hit_all(self, windows: Sequence[Window]) -> LimitStatus:
        """Count a request in all of the windows, or in none. Return the one that refuses it, or else the first."""
        keys = [self.bridge.prefixed_key(window.policy.key_for(window.client)) for window in windows]
        length = windows[0].policy.get_expiry()
        refused, count, wait = await self._hit_all(keys, [length, *(window.policy.amount for window in windows)])
        shown = windows[max(refused - 1, 0)]
        return _limit_status(shown, shown.policy.amount - count, float(wait), is_refused=refused > 0)


class InMemoryMovingWindows:
    """Windows of this process alone."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        # Not the library's asynchronous one: it hands each window to a thread each time it looks for old requests.
        self._storage = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)

    def hit_all(self, windows: Sequence[Window]) -> LimitStatus:
        """Do as `RedisMovingWindows.hit_all`."""
        if len(self._storage.events) > _MAX_CLIENTS:
            self._begin()  # the library never forgets a name, and looks at all of them again and again
        for window in windows:
            if not self._limiter.test(window.policy, window.client):
                return self._look_at(window, is_refused=True)
        for window in windows:
            self._limiter.hit(window.policy, window.client)
        return self._look_at(windows[0], is_refused=False)

    def _look_at(self, window: Window, *, is_refused: bool) -> LimitStatus:
        stats = self._limiter.get_window_stats(window.policy, window.client)
        return _limit_status(window, stats.remaining, stats.reset_time - time(), is_refused=is_refused)


def _limit_status(window: Window, remaining: int, wait: float, *, is_refused: bool) -> LimitStatus:
    return LimitStatus(window, is_refused, max(remaining, 0), max(math.ceil(wait), 1))
