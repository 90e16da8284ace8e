"""Logins: opening, renewing and ending them."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.auth.login_throttle import LoginAttempt, LoginThrottle
from app.auth.schemas.logins import TokenResponse
from app.core.client_network import client_network
from app.core.exceptions import BadRequestError, DatabaseUnavailableError, NotFoundError, UnauthorizedError
from app.core.passwords import PasswordHasher
from app.core.security import AccessTokens, RefreshTokens, hash_token
from app.core.types import new_id
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.repositories.accounts import attempt_counters, auth_sessions, credentials
from app.database.repositories.accounts.auth_sessions import TokenFamily
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.accounts.credentials import LoginAccount
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import AuditAction, NewAuditEntry, RequestOrigin
from app.database.retry import retry_until_available
from app.services.limits.concurrency import ConcurrencyLimiter

REFRESH_GRACE = timedelta(seconds=10)
"""How long an exchanged refresh token is answered with the same successor again: the answer may have been lost."""

_GRACE_RESTART_TIMEOUT = 60.0
_GRACE_RESTART_INTERVAL = 0.3


@dataclass(frozen=True, slots=True)
class LoginService:
    """Decides who gets in, and who stays in."""

    database: Database
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    passwords: PasswordHasher
    guesses: LoginThrottle
    hashing_limiter: ConcurrencyLimiter
    """By client network."""
    life: timedelta
    """How long a login lasts that is not used."""
    requires_verified_email: bool
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def login(self, login: str, password: str, origin: RequestOrigin) -> TokenResponse:
        """Check the password and open a session for the device.

        Raises:
            UnauthorizedError: wrong password, no such account, a disabled or unverified one, too many tries at it: the
                same answer after the same time.
            TooManyRequestsError: too many tries from this network or with this name, or too many at once.

        """
        with self.hashing_limiter.slot(client_network(origin.ip)):
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                account = await credentials.find_by_login(connection, login, network=client_network(origin.ip))
            guess = await self.guesses.login(login, account, origin)
            checked = account.password_hash if account and guess.is_evaluated else None
            is_right = await self.passwords.verify(password, checked)
        if account is None or not is_right or not self._may_enter(account):
            await self._refuse("login.failed", account.uuid if account else None, guess, origin)
            raise self._refusal()
        new_hash = None
        if self.passwords.is_outdated(account.password_hash):
            new_hash = await self.passwords.hash(password)
        return await self._open(account, new_hash, guess, origin)

    async def confirm_password(self, user: Principal, password: str, origin: RequestOrigin) -> str:
        """Check the caller's password again, before something that a stolen token must not do. Return its hash.

        Raises:
            BadRequestError: it is wrong.
            TooManyRequestsError: too many wrong ones.

        """
        guess = await self.guesses.confirmation(user.id, user.uuid, origin)
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            password_hash = await credentials.get_password_hash(connection, user.id)
        if password_hash is None or not await self.passwords.verify(password, password_hash):
            await self._refuse("password.confirmation", user.uuid, guess, origin, actor=user.uuid)
            raise BadRequestError("The password is wrong.", code="wrong_password")
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await attempt_counters.refund(connection, guess.keys)
        return password_hash

    async def refresh(self, token: str, origin: RequestOrigin) -> TokenResponse:
        """Exchange a refresh token for its successor and a new access token.

        The token that was exchanged last may be shown again for `REFRESH_GRACE`, and gets the same successor. Any
        other used one ends the login: somebody has a copy.

        Raises:
            UnauthorizedError: for every fault alike.

        """
        try:
            session_uuid = self.refresh_tokens.session_of(token)
            successor = self.refresh_tokens.successor(token)
        except ValueError:
            raise _bad_refresh_token() from None
        try:
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                user_uuid = await auth_sessions.rotate(
                    connection,
                    session_uuid,
                    token_hash=hash_token(token),
                    successor_hash=hash_token(successor),
                    life=self.life,
                )
                family = None
                if user_uuid is None:
                    family = await auth_sessions.find_family(connection, session_uuid, grace=REFRESH_GRACE)
        except DatabaseUnavailableError:
            # It may have been exchanged all the same, and nobody has the answer.
            self._restart_grace_later(session_uuid, hash_token(successor))
            raise
        if user_uuid is None:
            user_uuid = await self._repeat(token, successor, session_uuid, family, origin)
        return self._answer(user_uuid, session_uuid, successor)

    async def logout(self, session: DatabaseSession, user: Principal, origin: RequestOrigin) -> None:
        """End the caller's login, on all services at once."""
        if user.session_uuid is not None:
            await auth_sessions.revoke(session, user_id=user.id, session_uuid=user.session_uuid, reason="logout")
        await audit_log.record(session, NewAuditEntry("login.ended", actor=user.uuid, target=user.session_uuid), origin)

    async def logout_all(self, session: DatabaseSession, user: Principal, origin: RequestOrigin) -> None:
        """End all logins of the caller, this one too."""
        ended = await auth_sessions.revoke_all(session, user_id=user.id, reason="logout_all")
        await audit_log.record(
            session,
            NewAuditEntry("login.all_ended", actor=user.uuid, target=user.uuid, details={"logins": ended}),
            origin,
        )

    async def remove(
        self, session: DatabaseSession, user: Principal, session_uuid: UUID, origin: RequestOrigin
    ) -> None:
        """End one login of the caller.

        Raises:
            NotFoundError: the caller has no such login, or it has ended.

        """
        if not await auth_sessions.revoke(session, user_id=user.id, session_uuid=session_uuid, reason="removed"):
            raise NotFoundError("Session not found.")
        await audit_log.record(session, NewAuditEntry("login.ended", actor=user.uuid, target=session_uuid), origin)

    async def close(self) -> None:
        """End what runs in the background."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _may_enter(self, account: LoginAccount) -> bool:
        return account.is_active and (account.is_verified or not self.requires_verified_email)

    def _refusal(self) -> UnauthorizedError:
        unverified = ", or the address is not verified yet" if self.requires_verified_email else ""
        return UnauthorizedError(f"Incorrect email or password{unverified}.", code="invalid_credentials")

    async def _refuse(
        self,
        action: AuditAction,
        target: UUID | None,
        guess: LoginAttempt,
        origin: RequestOrigin,
        *,
        actor: UUID | None = None,
    ) -> None:
        details = {"evaluated": guess.is_evaluated}
        entry = NewAuditEntry(action, actor=actor, target=target, outcome="refused", details=details)
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await audit_log.record(connection, entry, origin)

    async def _open(
        self, account: LoginAccount, new_hash: str | None, guess: LoginAttempt, origin: RequestOrigin
    ) -> TokenResponse:
        session_uuid = new_id()
        refresh_token = self.refresh_tokens.new(session_uuid)
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            if not await credentials.note_login(session, account.id, password_hash=account.password_hash):
                raise self._refusal()  # disabled, or the password was changed, since it was checked
            if new_hash is not None:
                await credentials.replace_password(
                    session, account.id, old_hash=account.password_hash, new_hash=new_hash
                )
            await auth_sessions.open_session(
                session,
                uuid=session_uuid,
                user_id=account.id,
                token_hash=hash_token(refresh_token),
                life=self.life,
                origin=origin,
            )
            await attempt_counters.refund(session, guess.keys)
            await audit_log.record(
                session, NewAuditEntry("login.opened", actor=account.uuid, target=session_uuid), origin
            )
        return self._answer(account.uuid, session_uuid, refresh_token)

    async def _repeat(
        self, token: str, successor: str, session_uuid: UUID, family: TokenFamily | None, origin: RequestOrigin
    ) -> UUID:
        if family is None or not family.is_good:
            raise _bad_refresh_token()
        is_parent = family.previous_token_hash == hash_token(token)
        if is_parent and family.in_grace and family.token_hash == hash_token(successor):
            return family.user_uuid
        if is_parent or self.refresh_tokens.is_ours(token):
            await self._end_replayed(session_uuid, family.user_uuid, origin)
        raise _bad_refresh_token()

    async def _end_replayed(self, session_uuid: UUID, user_uuid: UUID, origin: RequestOrigin) -> None:
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            if await auth_sessions.revoke_family(session, session_uuid):
                entry = NewAuditEntry(
                    "login.replayed", target=user_uuid, outcome="refused", details={"login": str(session_uuid)}
                )
                await audit_log.record(session, entry, origin)

    def _restart_grace_later(self, session_uuid: UUID, token_hash: bytes) -> None:
        async def restart() -> None:
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await auth_sessions.restart_grace(connection, session_uuid, token_hash=token_hash)

        task = asyncio.create_task(
            retry_until_available(restart, max_seconds=_GRACE_RESTART_TIMEOUT, interval=_GRACE_RESTART_INTERVAL)
        )
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: PostgreSQL stayed away

    def _answer(self, user_uuid: UUID, session_uuid: UUID, refresh_token: str) -> TokenResponse:
        return TokenResponse(
            access_token=self.access_tokens.issue(user_id=user_uuid, session_id=session_uuid),
            refresh_token=refresh_token,
            expires_in=int(self.access_tokens.life.total_seconds()),
        )


def _bad_refresh_token() -> UnauthorizedError:
    return UnauthorizedError("The refresh token is not valid.", code="invalid_refresh_token")
