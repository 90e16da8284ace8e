"""Where the decisions of this room leave their mail, and how much of it they may."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from app.auth.login_throttle import hashed
from app.core.client_network import network_of
from app.core.exceptions import TooManyRequestsError
from app.database.connection import DatabaseConnection, DatabaseSession
from app.database.repositories.accounts import attempt_counters, email_outbox
from app.database.repositories.accounts.email_outbox import MailKind
from app.database.repositories.audit.audit_log import Origin

WINDOW = timedelta(hours=1)
MAILS_PER_RECIPIENT = 3
"""Of each kind, in a window: nobody's mailbox is flooded, from wherever the requests come."""
MAILS_PER_NETWORK = 30
"""That one network may ask for in a window."""


@dataclass(frozen=True, slots=True)
class MailOutbox:
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

    async def enqueue(self, connection: DatabaseSession | DatabaseConnection, kind: MailKind, recipient: str) -> None:
        """Ask for a mail. Who the address belongs to is found out when it is sent.

        Nothing happens where mail is off, or if the address has had enough of the kind: either way the caller goes
        on as if.
        """
        if not self.is_on:
            return
        count = await attempt_counters.count(connection, _recipient_key(kind, recipient), window=WINDOW)
        if count.attempts <= MAILS_PER_RECIPIENT:
            await email_outbox.enqueue(connection, kind, recipient)

    async def take_back(self, connection: DatabaseConnection, kind: MailKind, recipient: str) -> None:
        """Uncount a mail that was not sent, because it does not apply to whoever has the address, or to nobody.

        Or a stranger could use up what an address gets before it has an account, and so keep it from being verified.
        """
        await attempt_counters.refund(connection, [_recipient_key(kind, recipient)])

    async def check_network(self, connection: DatabaseSession | DatabaseConnection, origin: Origin) -> None:
        """Count a mail that somebody who is not logged in asks for.

        Raises:
            TooManyRequestsError: too many from this network.

        """
        network = network_of(origin.ip)
        if network is None:
            return
        count = await attempt_counters.count(connection, f"mail-from:{network}", window=WINDOW)
        if count.attempts > MAILS_PER_NETWORK:
            raise TooManyRequestsError(
                "Too many mails were asked for. Try again later.",
                code="too_many_attempts",
                retry_after=count.retry_after,
            )

    def wake(self) -> None:
        """Have it sent at once. Call this after the commit; without it the mail goes within a second."""
        self.added.set()


def _recipient_key(kind: MailKind, recipient: str) -> str:
    return f"mail:{kind}:{hashed(recipient)}"
