"""What links in mails are for: proving an address, and choosing a new password."""

from dataclasses import dataclass
from typing import Literal

from app.auth import webhook_events
from app.auth.email.outbox import EmailOutbox
from app.auth.login_throttle import account_counter_keys
from app.core.exceptions import BadRequestError, ServiceUnavailableError
from app.core.passwords import PasswordHasher
from app.core.security import hash_token
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.repositories.accounts import (
    api_keys,
    attempt_counters,
    auth_sessions,
    credentials,
    one_time_tokens,
    users,
)
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import event_outbox

_MAIL_RETRY_AFTER = 3600


@dataclass(frozen=True, slots=True)
class RecoveryService:
    """Decides what somebody may do who reads the mail of an account."""

    database: Database
    passwords: PasswordHasher
    outbox: EmailOutbox

    async def ask_for_mail(
        self, kind: Literal["verify_email", "reset_password"], address: str, origin: RequestOrigin
    ) -> None:
        """Have a link sent to the address, if it has an account that the link is for.

        Whether it has is not looked at here: nothing that the caller sees, or can time, depends on it.

        Raises:
            ServiceUnavailableError: no mail is sent at all.
            TooManyRequestsError: too many requests from this network.

        """
        if not self.outbox.is_on:
            raise ServiceUnavailableError(
                "This system sends no mail.", code="mail_disabled", retry_after=_MAIL_RETRY_AFTER
            )
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await self.outbox.check_network(connection, origin)
            await self.outbox.enqueue(connection, kind, address)
        self.outbox.wake()

    async def reset_password(self, token: str, new_password: str, origin: RequestOrigin) -> None:
        """Set the password of the account that the token was mailed to, and end all of its logins.

        Raises:
            BadRequestError: the token is not good, for whatever reason.

        """
        token_hash = hash_token(token)
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            # First, because hashing is expensive: only who has a token may cause it.
            if not await one_time_tokens.is_valid(connection, purpose="reset_password", token_hash=token_hash):
                raise _invalid_token()
        new_hash = await self.passwords.hash(new_password)
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            owner = await one_time_tokens.consume(session, purpose="reset_password", token_hash=token_hash)
            if owner is None:
                raise _invalid_token()
            await credentials.reset_password(session, owner.id, new_hash=new_hash)
            if not owner.is_verified:
                await self._verify(session, owner.id)
            ended = await auth_sessions.revoke_all(session, user_id=owner.id, reason="password_reset")
            # Keys too: whoever had the password until now may have made them, and the owner has just taken over.
            removed = await api_keys.remove_all(session, user_id=owner.id)
            await one_time_tokens.forget(session, user_id=owner.id, purposes=["reset_password", "verify_email"])
            await attempt_counters.forget(
                session, account_counter_keys(user_id=owner.id, email=owner.email, username=owner.username)
            )
            details = {"logins_ended": ended, "keys_removed": removed}
            await audit_log.record(session, NewAuditEntry("password.reset", target=owner.uuid, details=details), origin)
            await self.outbox.enqueue(session, "password_changed", owner.email)
        self.outbox.wake()

    async def verify_email(self, token: str, origin: RequestOrigin) -> bool:
        """Note that the owner of the account receives mail at its address. False: the name is taken by now.

        Raises:
            BadRequestError: the token is not good, for whatever reason.

        """
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            owner = await one_time_tokens.consume(session, purpose="verify_email", token_hash=hash_token(token))
            if owner is None:
                raise _invalid_token()
            has_its_name = await self._verify(session, owner.id)
            await one_time_tokens.forget(session, user_id=owner.id, purposes=["verify_email"])
            await audit_log.record(session, NewAuditEntry("email.verified", target=owner.uuid), origin)
            return has_its_name

    async def _verify(self, session: DatabaseSession, user_id: int) -> bool:
        has_its_name = await users.set_verified(session, user_id)
        user = await users.get(session, user_id)
        if user is not None:
            await event_outbox.emit(session, webhook_events.updated(user, ["is_verified"]))
        return has_its_name


def _invalid_token() -> BadRequestError:
    return BadRequestError("This link is not valid, or not any more. Ask for a new one.", code="invalid_token")
