"""Email verification and password reset by links in emails."""

from dataclasses import dataclass, field
from typing import Literal

from app.auth import webhook_events
from app.auth.email.outbox import EmailOutbox
from app.auth.email_policy import EmailPolicy
from app.auth.hashing_queue import HashingQueue
from app.auth.login_throttle import account_counter_keys
from app.core.exceptions import BadRequestError
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


@dataclass(frozen=True, slots=True)
class EmailLinkService:
    """Requests and redeems the links in emails."""

    database: Database
    hashing: HashingQueue
    outbox: EmailOutbox
    email_policy: EmailPolicy = field(default_factory=lambda: EmailPolicy(()))

    async def request_email(
        self, kind: Literal["verify_email", "reset_password"], address: str, origin: RequestOrigin
    ) -> None:
        """Enqueue an email with a link to the address.

        The account is looked up when the email is sent, so neither the response nor its time reveals whether it exists.

        Raises:
            InvalidFieldError: accounts cannot have addresses at this domain.
            ServiceUnavailableError: email is not configured.
            TooManyRequestsError: too many requests from this network.

        """
        self.email_policy.require_accepted(address)
        self.outbox.require_enabled()
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await self.outbox.count_request(connection, origin)
            await self.outbox.enqueue(connection, kind, address)
        self.outbox.wake()

    async def reset_password(self, token: str, new_password: str, origin: RequestOrigin) -> None:
        """Set a new password for the account that the token was sent to, and end all of its logins.

        Raises:
            BadRequestError: the token is unknown, used or expired, or its account is disabled.
            TooManyRequestsError, ServiceUnavailableError: too many passwords are being hashed.

        """
        token_hash = hash_token(token)
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            # Checked first, because hashing is expensive: requests without a valid token must not cause it.
            if not await one_time_tokens.is_valid(connection, purpose="reset_password", token_hash=token_hash):
                raise _invalid_token()
        async with self.hashing.slot(origin) as hasher:
            new_hash = await hasher.hash(new_password)
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            owner = await one_time_tokens.consume(session, purpose="reset_password", token_hash=token_hash)
            if owner is None:
                raise _invalid_token()
            await credentials.reset_password(session, owner.id, new_hash=new_hash)
            if not owner.is_verified:
                await self._set_verified(session, owner.id)
            ended = await auth_sessions.revoke_all(session, user_id=owner.id, reason="password_reset")
            # API keys as well: whoever knew the old password may have created them.
            removed = await api_keys.remove_all(session, user_id=owner.id)
            await one_time_tokens.revoke(session, user_id=owner.id, purposes=["reset_password", "verify_email"])
            await attempt_counters.remove(
                session, account_counter_keys(user_id=owner.id, email=owner.email, username=owner.username)
            )
            details = {"logins_ended": ended, "keys_removed": removed}
            await audit_log.record(session, NewAuditEntry("password.reset", target=owner.uuid, details=details), origin)
            await self.outbox.enqueue(session, "password_changed", owner.email)
        self.outbox.wake()

    async def verify_email(self, token: str, origin: RequestOrigin) -> bool:
        """Mark the address of the token's account as verified.

        Returns False if another account has taken the requested user name; the account then keeps its generated one.

        Raises:
            BadRequestError: the token is unknown, used or expired, or its account is disabled.

        """
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            owner = await one_time_tokens.consume(session, purpose="verify_email", token_hash=hash_token(token))
            if owner is None:
                raise _invalid_token()
            got_username = await self._set_verified(session, owner.id)
            await one_time_tokens.revoke(session, user_id=owner.id, purposes=["verify_email"])
            await audit_log.record(session, NewAuditEntry("email.verified", target=owner.uuid), origin)
            return got_username

    async def _set_verified(self, session: DatabaseSession, user_id: int) -> bool:
        got_username = await users.set_verified(session, user_id)
        user = await users.get(session, user_id)
        if user is not None:
            await event_outbox.emit(session, webhook_events.user_updated(user, ["is_verified"]))
        return got_username


def _invalid_token() -> BadRequestError:
    return BadRequestError("This link is invalid, used or expired. Request a new one.", code="invalid_token")
