"""Rate limiter of HTTP requests, per account and per client network."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from limits import RateLimitItemPerSecond
from redis.asyncio import Redis

from app.config import Settings
from app.core.exceptions import TooManyRequestsError
from app.services.limits.moving_window import InMemoryMovingWindows, LimitStatus, RedisMovingWindows, Window
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError

_MAX_REMEMBERED_CREDENTIALS = 10_000
"""Maximum number of credentials whose account is remembered without a query."""


class RateLimiter:
    """Rate limits of one service: counted in Redis, and in memory while Redis is unavailable."""

    def __init__(self, settings: Settings, redis: Redis, breaker: RedisCircuitBreaker) -> None:
        """`breaker` guards the commands to `redis`."""
        self._breaker = breaker
        self._shared = RedisMovingWindows(redis)
        self._local = InMemoryMovingWindows()
        seconds = settings.RATE_LIMIT_WINDOW
        self._per_user = RateLimitItemPerSecond(settings.RATE_LIMIT_REQUESTS, seconds, "user")
        self._per_network = RateLimitItemPerSecond(settings.RATE_LIMIT_REQUESTS_PER_ADDRESS, seconds, "address")
        self._accounts: OrderedDict[bytes, UUID] = OrderedDict()

    def start_request(self, network: str | None, credential: str | None) -> "RateLimitCheck":
        """Return the rate limit state of a new request. `credential`: its token or key, which need not be valid."""
        return RateLimitCheck(self, network, hashlib.sha256(credential.encode()).digest() if credential else None)

    def account_of(self, credential: bytes) -> UUID | None:
        """Return the account of a credential, by its hash. None: it is not remembered."""
        account = self._accounts.get(credential)
        if account is not None:
            self._accounts.move_to_end(credential)
        return account

    def remember(self, credential: bytes, account: UUID) -> None:
        """Remember the account of a credential, by its hash. A credential never changes its account."""
        self._accounts[credential] = account
        if len(self._accounts) > _MAX_REMEMBERED_CREDENTIALS:
            self._accounts.popitem(last=False)

    def forget(self, credential: bytes) -> None:
        """Forget an invalid credential, so that its requests do not count for the account."""
        self._accounts.pop(credential, None)

    async def count(self, *, account: UUID | None, network: str | None) -> LimitStatus | None:
        """Count a request for account and network, or for neither if one refuses. None: neither is given."""
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


class RateLimitCheck:
    """Rate limit state of one request, which is counted once.

    It is counted before authentication, so that a refused request needs no query. The account is known if an earlier
    request had the same credential; otherwise the network counts first, and the account after authentication.
    """

    def __init__(self, limiter: RateLimiter, network: str | None, credential: bytes | None) -> None:
        """`credential`: hash of the token or key in the request."""
        self.status: LimitStatus | None = None
        """State of the decisive window after the request. None: it has not been counted."""
        self.network = network
        self._limiter = limiter
        self._credential = credential
        self._account: UUID | None = None

    @property
    def known_account(self) -> UUID | None:
        """Account of the credential, if an earlier request had the same one."""
        return None if self._credential is None else self._limiter.account_of(self._credential)

    async def count_request(self) -> None:
        """Count the request before authentication.

        Raises:
            TooManyRequestsError: a limit is exceeded.

        """
        self._account = self.known_account
        self._set_status(await self._limiter.count(account=self._account, network=self.network))

    async def assign_account(self, account: UUID) -> None:
        """Count the request for the authenticated account, unless it has been counted for it already.

        Raises:
            TooManyRequestsError: the limit of the account is exceeded.

        """
        if self._credential is None or self._account == account:
            return
        self._account = account
        self._limiter.remember(self._credential, account)
        self._set_status(await self._limiter.count(account=account, network=None))

    def reject_credential(self) -> None:
        """Forget the credential of the request, which has turned out to be invalid."""
        if self._credential is not None:
            self._limiter.forget(self._credential)

    def _set_status(self, status: LimitStatus | None) -> None:
        self.status = status
        if status is not None and status.is_refused:
            raise TooManyRequestsError(code="rate_limited", retry_after=status.reset_after)
