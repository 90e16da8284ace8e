"""Outbox for emails, with limits per recipient and per network."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from app.auth.login_throttle import hash_login_name
from app.core.client_network import client_network
from app.core.exceptions import ServiceUnavailableError, TooManyRequestsError
from app.database.connection import DatabaseConnection, DatabaseSession
from app.database.repositories.accounts import attempt_counters, email_outbox
from app.database.repositories.accounts.attempt_counters import AttemptCount
from app.database.repositories.accounts.email_outbox import EmailKind
from app.database.repositories.audit.audit_log import RequestOrigin

MAX_EMAILS_PER_RECIPIENT = 3
"""Maximum number of emails of one kind to one address per window, from whichever networks they are requested."""
MAX_EMAILS_PER_NETWORK = 30
"""Maximum number of emails that clients of one network may request per window."""
_WINDOW = timedelta(hours=1)
"""Time for which emails are counted."""
_RETRY_AFTER = 3600
"""Value of `Retry-After` where email is not configured, in seconds."""


@dataclass(frozen=True, slots=True)
class EmailOutbox:
    """Enqueues emails.

    An email that is enqueued in a transaction is sent if, and only if, the transaction commits:

        async with database.transaction() as session:
            ...
            await outbox.enqueue(session, "verify_email", user.email)
        outbox.wake()
    """

    is_enabled: bool
    """False without `MAIL_URL`: nothing is enqueued, because nothing would be sent."""
    reset_lifetime: timedelta = _WINDOW
    """Lifetime of the links that reset a password."""
    added: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an email may have been added."""

    async def enqueue(self, connection: DatabaseSession | DatabaseConnection, kind: EmailKind, recipient: str) -> None:
        """Enqueue an email. The account of the address is looked up when the email is sent.

        Does nothing if email is disabled or the recipient is over `MAX_EMAILS_PER_RECIPIENT`. Callers cannot tell, so
        they cannot reveal it.
        """
        if self.is_enabled:
            await self._enqueue(connection, kind, recipient)

    async def enqueue_or_refuse(
        self, connection: DatabaseSession | DatabaseConnection, kind: EmailKind, recipient: str
    ) -> None:
        """Enqueue an email for an admin, who may know about the limit.

        Raises:
            ServiceUnavailableError: email is not configured.
            TooManyRequestsError: the recipient is over `MAX_EMAILS_PER_RECIPIENT`.

        """
        self.require_enabled()
        count = await self._enqueue(connection, kind, recipient)
        if count.attempts > MAX_EMAILS_PER_RECIPIENT:
            raise TooManyRequestsError(
                "Too many of these emails were sent to this address. Try again later.",
                code="too_many_attempts",
                retry_after=count.retry_after,
            )

    def require_enabled(self) -> None:
        """Refuse a request for which an email has to be sent.

        Raises:
            ServiceUnavailableError: email is not configured.

        """
        if not self.is_enabled:
            raise ServiceUnavailableError("Email is not configured.", code="mail_disabled", retry_after=_RETRY_AFTER)

    async def refund(self, connection: DatabaseConnection, kind: EmailKind, recipient: str) -> None:
        """Undo the count of an email that was discarded, because the address has no account that it applies to.

        Otherwise anyone could use up the limit of an address before its owner registers, and prevent the verification.
        Requests over the limit are no longer counted either.
        """
        await attempt_counters.refund(connection, [_recipient_key(kind, recipient)], limit=MAX_EMAILS_PER_RECIPIENT)

    async def count_request(self, connection: DatabaseSession | DatabaseConnection, origin: RequestOrigin) -> None:
        """Count an email that an unauthenticated client requests.

        Raises:
            TooManyRequestsError: too many requests from this network.

        """
        network = client_network(origin.ip)
        if network is None:
            return
        count = await attempt_counters.count(connection, f"mail-from:{network}", window=_WINDOW)
        if count.attempts > MAX_EMAILS_PER_NETWORK:
            raise TooManyRequestsError(
                "Too many emails were requested. Try again later.",
                code="too_many_attempts",
                retry_after=count.retry_after,
            )

    async def _enqueue(
        self, connection: DatabaseSession | DatabaseConnection, kind: EmailKind, recipient: str
    ) -> AttemptCount:
        # Anybody can use up the limit of an address: until it ends, the links that were sent must be valid.
        window = min(_WINDOW, self.reset_lifetime) if kind == "reset_password" else _WINDOW
        return await email_outbox.enqueue(
            connection,
            kind,
            recipient,
            counter=_recipient_key(kind, recipient),
            window=window,
            limit=MAX_EMAILS_PER_RECIPIENT,
        )

    def wake(self) -> None:
        """Start delivery immediately. Call this after the commit; otherwise delivery starts within about a second."""
        self.added.set()


def _recipient_key(kind: EmailKind, recipient: str) -> str:
    return f"mail:{kind}:{hash_login_name(recipient)}"
