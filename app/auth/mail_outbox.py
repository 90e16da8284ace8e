"""Where the decisions of this room leave their mail."""

import asyncio
from dataclasses import dataclass, field

from app.database.connection import DatabaseConnection, DatabaseSession
from app.database.repositories import mails
from app.database.repositories.mails import MailKind


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
        """Ask for a mail. Who the address belongs to is found out when it is sent. Nothing, where mail is off."""
        if self.is_on:
            await mails.enqueue(connection, kind, recipient)

    def wake(self) -> None:
        """Have it sent at once. Call this after the commit; without it the mail goes within a second."""
        self.added.set()
