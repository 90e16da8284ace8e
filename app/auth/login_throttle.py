"""Brute-force protection of passwords.

Every attempt is counted in PostgreSQL before the password is checked, so neither concurrent attempts nor a restart
give additional ones. There are three counters: for the network that the attempt comes from, for the name that was
entered, and for the account behind it. An attempt over the limit of its network or name is refused with 429 before the
password is checked. An attempt over the limit of the account only (made with the account's other name) gets the
response for a wrong password: a different one would reveal that the two names belong to the same account.

An attacker must not be able to lock the owner out. Therefore networks from which the owner has logged in have counters
of their own, an attempt with the correct password is refunded, and a password reset by email resets the counters.
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

    async def count_login(self, login: str, account: LoginAccount | None, origin: RequestOrigin) -> LoginAttempt:
        """Count a login attempt; `account` is None if `login` matches no account.

        Raises:
            TooManyRequestsError: too many attempts from this network or with this name.

        """
        name = hash_login_name(login)
        # Names without an account have the same counters, so that responses do not reveal which names exist.
        name_key, account_key = f"name:{name}", f"account:{account.id}" if account else f"nobody:{name}"
        network = client_network(origin.ip)
        if account is not None and account.is_known_network and network is not None:
            name_key, account_key = f"{name_key}@{network}", f"{account_key}@{network}"
        keys = [name_key, account_key]
        if network is not None:
            # Before the other counters: a network over its limit must not use up the attempts of further names.
            network_key = f"network:{network}"
            counts = await self._count([network_key])
            await self._check(counts[network_key], self.max_per_network, None, origin)
            keys.append(network_key)
        counts = await self._count([name_key, account_key])
        await self._check(counts[name_key], self.max_per_account, account.uuid if account else None, origin)
        return LoginAttempt(keys, is_evaluated=counts[account_key].attempts <= self.max_per_account)

    async def count_confirmation(self, user_id: int, user_uuid: UUID, origin: RequestOrigin) -> LoginAttempt:
        """Count an attempt at the password of an account by a caller who is logged in to it.

        Raises:
            TooManyRequestsError: too many attempts.

        """
        key = f"confirmation:{user_id}"
        counts = await self._count([key])
        await self._check(counts[key], self.max_per_account, user_uuid, origin)
        return LoginAttempt([key], is_evaluated=True)

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
    """Return the keys of an account's counters, to reset them."""
    return [
        f"account:{user_id}",
        f"confirmation:{user_id}",
        f"name:{hash_login_name(email)}",
        f"name:{hash_login_name(username)}",
    ]


def hash_login_name(name: str) -> str:
    """Return the hash of an address or user name for counter keys: 32 hex digits, equal for all spellings of a name."""
    # Lowercased character by character, as PostgreSQL does when it looks the account up. For a whole string Python
    # maps "İ" to two characters, and "Σ" at the end of a word to another character than in the middle.
    lowered = "".join(character.lower()[0] for character in name)
    # Hashed, because users may type anything into the field, including their password.
    return hashlib.sha256(lowered.encode()).hexdigest()[:32]
