"""How many requests a client may make: an account with all its devices, and the network that a request comes from."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from limits import RateLimitItemPerSecond
from redis.asyncio import Redis

from app.config import Settings
from app.core.exceptions import TooManyRequestsError
from app.services.limits.moving_window import InMemoryMovingWindows, LimitStatus, RedisMovingWindows, Window
from app.services.redis.circuit_breaker import RedisCircuitBreaker, RedisUnavailableError

_MAX_REMEMBERED_CREDENTIALS = 10_000
"""Credentials whose account is known without a look into PostgreSQL."""


class RateLimiter:
    """The limits of one service: counted in Redis, and in this process while Redis is away."""

    def __init__(self, settings: Settings, redis: Redis, breaker: RedisCircuitBreaker) -> None:
        """`breaker`: before the same Redis."""
        self._breaker = breaker
        self._shared = RedisMovingWindows(redis)
        self._local = InMemoryMovingWindows()
        seconds = settings.RATE_LIMIT_WINDOW
        self._per_user = RateLimitItemPerSecond(settings.RATE_LIMIT_REQUESTS, seconds, "user")
        self._per_network = RateLimitItemPerSecond(settings.RATE_LIMIT_REQUESTS_PER_ADDRESS, seconds, "address")
        self._accounts: OrderedDict[bytes, UUID] = OrderedDict()

    def start_request(self, network: str | None, credential: str | None) -> "RequestQuota":
        """Begin to count a request. `credential`: what its caller shows, good or not."""
        return RequestQuota(self, network, hashlib.sha256(credential.encode()).digest() if credential else None)

    def account_of(self, credential: bytes) -> UUID | None:
        """Return whose credential it was when it was last seen here."""
        account = self._accounts.get(credential)
        if account is not None:
            self._accounts.move_to_end(credential)
        return account

    def remember(self, credential: bytes, account: UUID) -> None:
        """Note whose credential it is. It never becomes somebody else's."""
        self._accounts[credential] = account
        if len(self._accounts) > _MAX_REMEMBERED_CREDENTIALS:
            self._accounts.popitem(last=False)

    def forget(self, credential: bytes) -> None:
        """Note that a credential is not good any more: whoever has a copy must not use up its owner's requests."""
        self._accounts.pop(credential, None)

    async def count(self, *, account: UUID | None, network: str | None) -> LimitStatus | None:
        """Count a request for those that are given, or for none of them. None: for nobody."""
        windows: list[Window] = []
        if account is not None:
            windows.append(Window(self._per_user, str(account)))
        if network is not None:
            windows.append(Window(self._per_network, network))
        return await self._hit(windows) if windows else None

    async def _hit(self, windows: Sequence[Window]) -> LimitStatus:
        try:
            async with self._breaker.guard():
                return await self._shared.hit_all(windows)
        except RedisUnavailableError:
            return self._local.hit_all(windows)


class RequestQuota:
    """One request.

    It is counted before its caller is looked up, so that one too many costs no statement. Whose credential it shows is
    known from an earlier request; otherwise the network counts first, and the account as soon as it is known.
    """

    def __init__(self, limits: RateLimiter, network: str | None, credential: bytes | None) -> None:
        """`credential`: what stands for what the caller shows."""
        self.status: LimitStatus | None = None
        """Where its client stands after it."""
        self._limits = limits
        self._network = network
        self._credential = credential
        self._account: UUID | None = None

    async def count_request(self) -> None:
        """Count the request.

        Raises:
            TooManyRequestsError: it is one too many.

        """
        if self._credential is not None:
            self._account = self._limits.account_of(self._credential)
        self._take(await self._limits.count(account=self._account, network=self._network))

    async def assign_account(self, account: UUID) -> None:
        """Count the request for its caller, who is known by now.

        Raises:
            TooManyRequestsError: it is one too many.

        """
        if self._credential is None or self._account == account:
            return
        self._account = account
        self._limits.remember(self._credential, account)
        self._take(await self._limits.count(account=account, network=None))

    def reject_credential(self) -> None:
        """Note that what the caller shows is not good."""
        if self._credential is not None:
            self._limits.forget(self._credential)

    def _take(self, status: LimitStatus | None) -> None:
        self.status = status
        if status is not None and status.is_refused:
            raise TooManyRequestsError(code="rate_limited", retry_after=status.reset_after)
