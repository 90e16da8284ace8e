"""Where the decisions of this room leave their mail, and how much of it they may."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from app.auth.login_throttle import hash_name
from app.core.client_network import client_network
from app.core.exceptions import TooManyRequestsError
from app.database.connection import DatabaseConnection, DatabaseSession
from app.database.repositories.accounts import attempt_counters, email_outbox
from app.database.repositories.accounts.email_outbox import EmailKind
from app.database.repositories.audit.audit_log import RequestOrigin

WINDOW = timedelta(hours=1)
EMAILS_PER_RECIPIENT = 3
"""Of each kind, in a window: nobody's mailbox is flooded, from wherever the requests come."""
EMAILS_PER_NETWORK = 30
"""That one network may ask for in a window."""


@dataclass(frozen=True, slots=True)
class EmailOutbox:
    """Takes mail that is to be sent.

    Inside a transaction the mail goes out if, and only if, that commits:

        async with database.transaction() as session:
            ...
            await outbox.enqueue(session, "verify_email", user.email)
        outbox.wake()
    """

    is_on: bool
    """False: no `MAIL_URL`, so nothing would ever take the mail out again."""
    added: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something to send."""

    async def enqueue(self, connection: DatabaseSession | DatabaseConnection, kind: EmailKind, recipient: str) -> None:
        """Ask for a mail. Who the address belongs to is found out when it is sent.

        Nothing happens where mail is off, or if the address has had enough of the kind: either way the caller goes
        on as if.
        """
        if not self.is_on:
            return
        count = await attempt_counters.count(connection, _recipient_key(kind, recipient), window=WINDOW)
        if count.attempts <= EMAILS_PER_RECIPIENT:
            await email_outbox.enqueue(connection, kind, recipient)

    async def refund(self, connection: DatabaseConnection, kind: EmailKind, recipient: str) -> None:
        """Uncount a mail that was not sent, because it does not apply to whoever has the address, or to nobody.

        Or a stranger could use up what an address gets before it has an account, and so keep it from being verified.
        """
        await attempt_counters.refund(connection, [_recipient_key(kind, recipient)])

    async def check_network(self, connection: DatabaseSession | DatabaseConnection, origin: RequestOrigin) -> None:
        """Count a mail that somebody who is not logged in asks for.

        Raises:
            TooManyRequestsError: too many from this network.

        """
        network = client_network(origin.ip)
        if network is None:
            return
        count = await attempt_counters.count(connection, f"mail-from:{network}", window=WINDOW)
        if count.attempts > EMAILS_PER_NETWORK:
            raise TooManyRequestsError(
                "Too many mails were asked for. Try again later.",
                code="too_many_attempts",
                retry_after=count.retry_after,
            )

    def wake(self) -> None:
        """Have it sent at once. Call this after the commit; without it the mail goes within a second."""
        self.added.set()


def _recipient_key(kind: EmailKind, recipient: str) -> str:
    return f"mail:{kind}:{hash_name(recipient)}"
