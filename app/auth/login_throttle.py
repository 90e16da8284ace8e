"""Limits on guessing passwords.

Every try is counted before it is evaluated, in PostgreSQL, so tries at the same moment and a restart gain nothing.
Counted are, each for itself: the network a try comes from, the name that was typed, and the account behind it. A try
over the limit of its network or name is refused before the password is looked at; one over the limit of the account
only (by the account's other name) gets the answer to a wrong password, because a different one would tell that
the two names belong together.

An attacker must not be able to lock the owner out: networks the owner has logged in from have counters of their own,
a right password takes its try back, and a password reset by mail starts the counts anew.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.core.client_network import client_network
from app.core.exceptions import TooManyRequestsError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.accounts import attempt_counters
from app.database.repositories.accounts.attempt_counters import AttemptCount
from app.database.repositories.accounts.credentials import LoginAccount
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import RequestOrigin


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A counted try, not yet evaluated."""

    keys: list[str]
    is_evaluated: bool
    """False: the account has had too many tries; whatever the password is, it is not right."""


@dataclass(frozen=True, slots=True)
class LoginThrottle:
    """Decides whether a password may be tried."""

    database: Database
    per_account: int
    per_network: int
    window: timedelta

    async def login(self, login: str, account: LoginAccount | None, origin: RequestOrigin) -> LoginAttempt:
        """Count a login, and say whether to evaluate it.

        Raises:
            TooManyRequestsError: too many from this network, or for this name.

        """
        name = hash_name(login)
        # Without an account the same counters are kept, so that nothing tells the two apart.
        name_key, account_key = f"name:{name}", f"account:{account.id}" if account else f"nobody:{name}"
        network = client_network(origin.ip)
        if account is not None and account.is_known_network and network is not None:
            name_key, account_key = f"{name_key}@{network}", f"{account_key}@{network}"
        keys = [name_key, account_key]
        if network is not None:
            # First and by itself: beyond its limit a network must not use up the tries of any name any more.
            network_key = f"network:{network}"
            counts = await self._count([network_key])
            await self._check(counts[network_key], self.per_network, None, origin)
            keys.append(network_key)
        counts = await self._count([name_key, account_key])
        await self._check(counts[name_key], self.per_account, account.uuid if account else None, origin)
        return LoginAttempt(keys, is_evaluated=counts[account_key].attempts <= self.per_account)

    async def confirmation(self, user_id: int, user_uuid: UUID, origin: RequestOrigin) -> LoginAttempt:
        """Count a try at the password of an account by somebody who is logged in to it.

        Raises:
            TooManyRequestsError: too many.

        """
        key = f"confirmation:{user_id}"
        counts = await self._count([key])
        await self._check(counts[key], self.per_account, user_uuid, origin)
        return LoginAttempt([key], is_evaluated=True)

    async def _count(self, keys: list[str]) -> dict[str, AttemptCount]:
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            return await attempt_counters.count_all(connection, keys, window=self.window)

    async def _check(self, count: AttemptCount, limit: int, target: UUID | None, origin: RequestOrigin) -> None:
        if count.attempts <= limit:
            return
        if count.attempts == limit + 1:  # once a window: a flood must not fill the log
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
    """Return the counters of an account, for `throttles.forget`."""
    return [f"account:{user_id}", f"confirmation:{user_id}", f"name:{hash_name(email)}", f"name:{hash_name(username)}"]


def hash_name(name: str) -> str:
    """Return what stands for an address or a name in the key of a counter: the same for each way to spell it."""
    # Letter by letter, as PostgreSQL has it where it looks for the account: of a whole word Python makes two letters of
    # "İ", and of "Σ" at the end another one than in the middle.
    lower = "".join(letter.lower()[0] for letter in name)
    # Hashed, because what was typed may be anything, a password in the wrong field too.
    return hashlib.sha256(lower.encode()).hexdigest()[:32]
