"""Brute-force protection of passwords.

Every attempt is counted in PostgreSQL before the password is checked, so neither concurrent attempts nor a restart
give additional ones. There are counters for the network that the attempt comes from, for the name that was entered in
this network, and for the account behind it from all networks. An attempt over the limit of its network, or of its name
in this network, is refused with 429 before the password is checked. An attempt over the limit of the account gets the
response for a wrong password. So a response depends on the client's own attempts only, and reveals neither whether an
account exists nor whether two names belong to it, from whichever networks somebody tries.

An attempt that was not evaluated (refused with 429 or 503, cancelled, or PostgreSQL failed) is given back: an overload
never locks anybody out.

An attacker must not be able to lock the owner out. Therefore networks from which the owner has logged in have counters
of their own, an attempt with the correct password is refunded, and a password reset by email resets the counters.

The attempts of a caller who has logged in are counted for each login and network. Somebody with a stolen access token
uses up the attempts of this login in the own networks only: not those in the owner's networks, and not those of other
logins.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from app.core.background_tasks import stop_tasks
from app.core.client_network import client_network
from app.core.exceptions import TooManyRequestsError, UnauthorizedError
from app.core.identity import canonical_login
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.accounts import attempt_counters
from app.database.repositories.accounts.attempt_counters import AttemptCount
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.accounts.credentials import LoginAccount
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import RequestOrigin
from app.database.retry_until_available import retry_until_available

_REFUND_TIMEOUT = 60.0
"""Time for which the refund of an attempt is repeated while PostgreSQL is unavailable, in seconds."""
_REFUND_WAIT = 0.2
"""Time for which a failed request waits for its refund, in seconds."""

_MAX_UNKNOWN_NETWORKS = 3
"""Number of networks that are unknown to an account, in which all attempts of a login at its password are evaluated."""


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """An attempt that has been counted, before its password is checked."""

    keys: list[str]
    """Keys of its counters."""
    is_evaluated: bool
    """False: the account is over its limit, so the attempt fails even if the password is correct."""


@dataclass(frozen=True, slots=True)
class LoginThrottle:
    """Limits attempts at passwords per account, name and network."""

    database: Database
    max_per_account: int
    max_per_network: int
    window: timedelta
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def count_login(self, login: str, account: LoginAccount | None, origin: RequestOrigin) -> LoginAttempt:
        """Count a login attempt; `account` is None if `login` matches no account.

        Raises:
            TooManyRequestsError: too many attempts from this network, or with this name from this network.

        """
        name = hash_login_name(login)
        network = client_network(origin.ip)
        is_known_network = account is not None and account.is_known_network
        # Names without an account have the same counters, so that responses do not reveal which names exist.
        account_key = f"account:{account.id}" if account else f"nobody:{name}"
        if is_known_network:
            account_key = _in_network(account_key, network)
        name_key = _in_network(f"name:{name}", network)
        counted: list[str] = []
        if network is not None:
            # Before the other counters: a network over its limit must not use up the attempts of further names.
            network_key = f"network:{network}"
            counts = await self._count([network_key])
            await self._check(counts[network_key], self.max_per_network, None, origin)
            counted.append(network_key)
        async with self.refund_if_failed(LoginAttempt(counted, is_evaluated=False)):
            counts = await self._count([name_key, account_key])
            counted.append(account_key)
            await self._check(counts[name_key], self.max_per_account, account.uuid if account else None, origin)
        return LoginAttempt([name_key, *counted], is_evaluated=counts[account_key].attempts <= self.max_per_account)

    async def count_confirmation(
        self, user: Principal, origin: RequestOrigin, *, is_known_network: bool
    ) -> LoginAttempt:
        """Count an attempt at the password of an account by a caller who is logged in to it.

        `is_known_network`: whether the owner has logged in from the network of the caller.

        Raises:
            TooManyRequestsError: too many attempts by this login from this network, or from all unknown networks.

        """
        login_key = f"{_confirmation_key(user.id)}@{user.session_uuid}"
        network_key = _in_network(login_key, client_network(origin.ip))
        counts = await self._count([network_key])
        await self._check(counts[network_key], self.max_per_account, user.uuid, origin)
        if is_known_network or network_key == login_key:
            return LoginAttempt([network_key], is_evaluated=True)
        # Only now: a network over its limit must not use up the attempts in the others.
        async with self.refund_if_failed(LoginAttempt([network_key], is_evaluated=False)):
            counts = await self._count([login_key])
            await self._check(counts[login_key], self.max_per_account * _MAX_UNKNOWN_NETWORKS, user.uuid, origin)
        return LoginAttempt([network_key, login_key], is_evaluated=True)

    async def refund(self, attempt: LoginAttempt) -> None:
        """Subtract an attempt from its counters.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await attempt_counters.refund(connection, attempt.keys)

    @asynccontextmanager
    async def refund_if_failed(self, attempt: LoginAttempt) -> AsyncIterator[None]:
        """Subtract an attempt from its counters if the block fails, because it was not evaluated.

        `UnauthorizedError` is the result of an evaluated attempt. While PostgreSQL is unavailable, the refund is
        repeated in the background.
        """
        try:
            yield
        except UnauthorizedError:
            raise
        except BaseException:
            task = asyncio.create_task(retry_until_available(lambda: self.refund(attempt), max_seconds=_REFUND_TIMEOUT))
            self._tasks.add(task)
            task.add_done_callback(self._discard_task)
            # The response follows the refund, if that takes milliseconds only.
            await asyncio.wait([task], timeout=_REFUND_WAIT)
            raise

    async def close(self) -> None:
        """Store the refunds of failed attempts, as far as that is possible at once, and stop repeating the others."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=REQUEST_TIMEOUT)
        await stop_tasks(self._tasks)

    def _discard_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log the timeout

    async def _count(self, keys: list[str]) -> dict[str, AttemptCount]:
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            return await attempt_counters.count_all(connection, keys, window=self.window)

    async def _check(self, count: AttemptCount, limit: int, target: UUID | None, origin: RequestOrigin) -> None:
        if count.attempts <= limit:
            return
        if count.attempts == limit + 1:  # once per window: an attack must not fill the audit log
            entry = audit_log.NewAuditEntry(
                "login.locked", target=target, outcome="refused", details={"attempts": limit}
            )
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await audit_log.record(connection, entry, origin)
        raise TooManyRequestsError(
            "Too many attempts. Try again later, or reset your password.",
            code="too_many_attempts",
            retry_after=count.retry_after,
        )


def account_counter_keys(*, user_id: int, email: str, username: str) -> list[str]:
    """Return the keys of an account's counters in all networks, to reset them."""
    return [
        f"account:{user_id}",
        _confirmation_key(user_id),
        f"name:{hash_login_name(email)}",
        f"name:{hash_login_name(username)}",
    ]


def hash_login_name(name: str) -> str:
    """Return the hash of an address or user name for counter keys: 32 hex digits, equal for all spellings of a name."""
    # Hashed, because users may type anything into the field, including their password.
    return hashlib.sha256(canonical_login(name).encode()).hexdigest()[:32]


def _confirmation_key(user_id: int) -> str:
    return f"confirmation:{user_id}"


def _in_network(key: str, network: str | None) -> str:
    """Return the key of the counter for attempts from one network. None: the network is not known."""
    return key if network is None else f"{key}@{network}"
