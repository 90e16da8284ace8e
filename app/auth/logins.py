"""Logins: password check and token refresh."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.auth.hashing_queue import HashingQueue
from app.auth.login_throttle import LoginAttempt, LoginThrottle
from app.auth.schemas.logins import TokenResponse
from app.core.client_network import client_network
from app.core.exceptions import BadRequestError, UnauthorizedError
from app.core.password_hashing import PasswordHasher
from app.core.schema_types import new_id
from app.core.security import AccessTokens, RefreshTokens, hash_token
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.accounts import attempt_counters, auth_sessions, credentials
from app.database.repositories.accounts.auth_sessions import TokenFamily
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.accounts.credentials import LoginAccount
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import AuditAction, NewAuditEntry, RequestOrigin


@dataclass(frozen=True, slots=True)
class LoginService:
    """Opens and refreshes logins."""

    database: Database
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    hashing: HashingQueue
    throttle: LoginThrottle
    lifetime: timedelta
    """Lifetime of a login without a refresh."""
    requires_verified_email: bool

    async def login(self, login: str, password: str, origin: RequestOrigin) -> TokenResponse:
        """Check the password and open a session for the device.

        Raises:
            UnauthorizedError: the password is wrong, the account does not exist, is disabled or is not verified, or
                had too many attempts. All of them get the same response after the same time.
            TooManyRequestsError: too many attempts from this network or with this name, or too many concurrent logins
                from this network.
            ServiceUnavailableError: too many passwords are being hashed.

        """
        try:
            return await self._check_and_open(login, password, origin)
        except _AccountChangedError:
            pass  # often a concurrent login, which has replaced an outdated hash of the same password
        try:
            return await self._check_and_open(login, password, origin)
        except _AccountChangedError:
            raise self._invalid_credentials() from None

    async def _check_and_open(self, login: str, password: str, origin: RequestOrigin) -> TokenResponse:
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            account = await credentials.find_by_login(connection, login, network=client_network(origin.ip))
        async with self.hashing.slot(origin) as hasher:
            attempt = await self.throttle.count_login(login, account, origin)
            password_hash = account.password_hash if account and attempt.is_evaluated else None
            new_hash = None
            async with self.throttle.refund_if_failed(attempt):
                is_correct = await hasher.verify(password, password_hash)
                if account and is_correct and hasher.is_outdated(account.password_hash):
                    new_hash = await hasher.hash(password)
        if account is None or not is_correct or not self._may_log_in(account):
            await self._audit_refusal("login.failed", account.uuid if account else None, attempt, origin)
            raise self._invalid_credentials()
        # The password is correct, so a failure from here on is not an attempt at it.
        async with self.throttle.refund_if_failed(attempt):
            return await self._open(account, new_hash, attempt, origin)

    async def confirm_password(
        self, user: Principal, password: str, origin: RequestOrigin, hasher: PasswordHasher
    ) -> str:
        """Check the caller's password before an operation for which an access token is not enough; return its hash.

        `hasher` is that of the request's slot in the hashing queue.

        Raises:
            BadRequestError: the password is wrong.
            TooManyRequestsError: too many wrong passwords.
            UnauthorizedError: the account was erased after the caller was authenticated.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            account = await credentials.find_by_id(connection, user.id, network=client_network(origin.ip))
        if account is None:
            raise UnauthorizedError  # not an attempt: its counter would outlive the account
        attempt = await self.throttle.count_confirmation(user, origin, is_known_network=account.is_known_network)
        async with self.throttle.refund_if_failed(attempt):
            is_correct = await hasher.verify(password, account.password_hash)
        if not is_correct:
            await self._audit_refusal("password.confirmation", user.uuid, attempt, origin, actor=user.uuid)
            raise BadRequestError("The password is wrong.", code="wrong_password")
        async with self.throttle.refund_if_failed(attempt):
            await self.throttle.refund(attempt)
        return account.password_hash

    async def refresh(self, token: str, origin: RequestOrigin) -> TokenResponse:
        """Exchange a refresh token for its successor and a new access token.

        Until the successor is exchanged itself, the token may be sent again and gets the same successor: the response
        may have been lost. Any older token revokes the login, because its reuse means that the token was copied
        (RFC 9700, section 4.14.2).

        Raises:
            UnauthorizedError: the token is malformed, unknown, used or expired, or its login has ended.

        """
        try:
            session_uuid = self.refresh_tokens.parse_session_id(token)
            successors = self.refresh_tokens.derive_successors(token)
        except ValueError:
            raise _invalid_refresh_token() from None
        successor = successors[0]
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            user_uuid = await auth_sessions.rotate(
                connection,
                session_uuid,
                token_hash=hash_token(token),
                successor_hash=hash_token(successor),
                life=self.lifetime,
            )
            family = None
            if user_uuid is None:
                family = await auth_sessions.find_family(connection, session_uuid)
        if user_uuid is None:
            # If the token was exchanged with another value of SECRET_KEY, that one's successor is the current token.
            successor = next(
                (each for each in successors if family and hash_token(each) == family.token_hash), successor
            )
            user_uuid = await self._find_user_of_repeated(token, successor, session_uuid, family, origin)
        return self._token_response(user_uuid, session_uuid, successor)

    async def close(self) -> None:
        """Store the refunds of failed attempts, as far as that is possible at once."""
        await self.throttle.close()

    def _may_log_in(self, account: LoginAccount) -> bool:
        return account.is_active and (account.is_verified or not self.requires_verified_email)

    def _invalid_credentials(self) -> UnauthorizedError:
        unverified = ", or the address is not verified yet" if self.requires_verified_email else ""
        return UnauthorizedError(f"Incorrect email or password{unverified}.", code="invalid_credentials")

    async def _audit_refusal(
        self,
        action: AuditAction,
        target: UUID | None,
        attempt: LoginAttempt,
        origin: RequestOrigin,
        *,
        actor: UUID | None = None,
    ) -> None:
        details = {"evaluated": attempt.is_evaluated}
        entry = NewAuditEntry(action, actor=actor, target=target, outcome="refused", details=details)
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await audit_log.record(connection, entry, origin)

    async def _open(
        self, account: LoginAccount, new_hash: str | None, attempt: LoginAttempt, origin: RequestOrigin
    ) -> TokenResponse:
        session_uuid = new_id()
        refresh_token = self.refresh_tokens.issue(session_uuid)
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            if not await credentials.record_login(session, account.id, password_hash=account.password_hash):
                raise _AccountChangedError
            if new_hash is not None:
                await credentials.replace_password(
                    session, account.id, old_hash=account.password_hash, new_hash=new_hash
                )
            await auth_sessions.open_session(
                session,
                uuid=session_uuid,
                user_id=account.id,
                token_hash=hash_token(refresh_token),
                life=self.lifetime,
                origin=origin,
            )
            await attempt_counters.refund(session, attempt.keys)
            await audit_log.record(
                session, NewAuditEntry("login.opened", actor=account.uuid, target=session_uuid), origin
            )
        return self._token_response(account.uuid, session_uuid, refresh_token)

    async def _find_user_of_repeated(
        self, token: str, successor: str, session_uuid: UUID, family: TokenFamily | None, origin: RequestOrigin
    ) -> UUID:
        if family is None or not family.is_valid:
            raise _invalid_refresh_token()
        if family.previous_token_hash == hash_token(token):
            if family.token_hash == hash_token(successor):
                return family.user_uuid
            # The successor was derived with another `SECRET_KEY`. It has not been used, so nothing was copied.
        elif self.refresh_tokens.has_valid_mac(token):
            await self._revoke_replayed(session_uuid, family.user_uuid, origin)
        raise _invalid_refresh_token()

    async def _revoke_replayed(self, session_uuid: UUID, user_uuid: UUID, origin: RequestOrigin) -> None:
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            if await auth_sessions.revoke_family(session, session_uuid):
                entry = NewAuditEntry(
                    "login.replayed", target=user_uuid, outcome="refused", details={"login": str(session_uuid)}
                )
                await audit_log.record(session, entry, origin)

    def _token_response(self, user_uuid: UUID, session_uuid: UUID, refresh_token: str) -> TokenResponse:
        return TokenResponse(
            access_token=self.access_tokens.issue(user_id=user_uuid, session_id=session_uuid),
            refresh_token=refresh_token,
            expires_in=int(self.access_tokens.lifetime.total_seconds()),
        )


class _AccountChangedError(Exception):
    """The account was disabled, or got another password hash, after the password was checked."""


def _invalid_refresh_token() -> UnauthorizedError:
    return UnauthorizedError("The refresh token is not valid.", code="invalid_refresh_token")
