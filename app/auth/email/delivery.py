"""Sends the mail in the outbox.

One loop a process, any number of processes. A mail is sent at least once: twice if a process dies after the mail
server has taken it and before the row is gone. No connection to PostgreSQL is held while a mail server answers.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from app.auth.email.outbox import EmailOutbox
from app.auth.email.templates import EmailTemplates
from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.core.security import hash_token, new_one_time_token
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseConnection
from app.database.repositories.accounts import email_outbox, one_time_tokens
from app.database.repositories.accounts.email_outbox import ClaimedEmail, EmailKind, Recipient
from app.database.repositories.accounts.one_time_tokens import TokenPurpose
from app.services.email.transport import Email, EmailError, EmailTransport, open_email_transport

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 8
FIRST_DELAY = timedelta(seconds=30)
"""Doubled after each attempt: the last of the eight is about an hour after the first."""
LEASE_MARGIN = timedelta(seconds=15)
"""What all the rest of a delivery may take besides the mail server."""

_POLL_INTERVAL = 1.0
"""How soon a mail goes out that another process has asked for."""
_POLL_JITTER = 0.2
"""Longest pause before the first mail after none. A mail to an account is more work than one to nobody: right behind
the request that asked for it, the next request would be slower, and whoever times that would know."""
_STOP_TIMEOUT = 5.0
"""What a stopping process lets the mail take that it is sending."""
_JITTER = 0.2

_PURPOSES: dict[EmailKind, TokenPurpose] = {
    "verify_email": "verify_email",
    "reset_password": "reset_password",
    "already_registered": "reset_password",
}


@dataclass(frozen=True, slots=True)
class EmailDelivery:
    """Takes mail out of the outbox and hands it to the mail server."""

    database: Database
    transport: EmailTransport
    texts: EmailTemplates
    outbox: EmailOutbox
    lease: timedelta
    """How long a mail is this process's alone: longer than the mail server may take, by `LEASE_MARGIN`."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send mail in the background until the block ends; a mail that is being sent then may be finished."""
        stopping = asyncio.Event()
        task = asyncio.create_task(self._run(stopping))
        try:
            yield
        finally:
            stopping.set()
            self.outbox.wake()
            await asyncio.wait({task}, timeout=_STOP_TIMEOUT)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def deliver_next(self) -> bool:
        """Deal with the mail that has been due for longest. False: none is due.

        Raises:
            DatabaseUnavailableError: the mail, if one was claimed, is due again when its lease is over.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            claimed = await email_outbox.claim(connection, lease=self.lease)
            if claimed is None:
                return False
            mail = await self._write(connection, claimed)
            if mail is None:
                await email_outbox.remove(connection, claimed)
                return True
        try:
            await self.transport.send(mail)
        except EmailError as error:
            await self._settle_failure(claimed, error)
        else:
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await email_outbox.remove(connection, claimed)
            logger.info("mail sent", extra={"kind": claimed.kind, "attempt": claimed.attempts})
        return True

    async def _run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            self.outbox.added.clear()
            is_idle = True
            try:
                is_idle = not await self.deliver_next()
            except DatabaseUnavailableError:
                pass  # readiness says so; every mail is still there
            except Exception:
                logger.exception("mail delivery failed")
            if is_idle and not stopping.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.outbox.added.wait(), _POLL_INTERVAL)
                await asyncio.sleep(random.uniform(0, _POLL_JITTER))  # noqa: S311 - spread, not secret

    async def _write(self, connection: DatabaseConnection, claimed: ClaimedEmail) -> Email | None:
        """Write the mail as things are now. None: it does not apply any more."""
        if claimed.attempts > MAX_ATTEMPTS:  # the process that made the last one did not live to say so
            _log_given_up(claimed, "unknown")
            return None
        recipient = await email_outbox.find_recipient(connection, claimed.recipient)
        if not _applies(claimed.kind, recipient):
            await self.outbox.refund(connection, claimed.kind, claimed.recipient)
            return None
        # Not what somebody typed: that only has to match in lower case, and may be another mailbox's address.
        address = recipient.email if recipient else claimed.recipient
        purpose = _PURPOSES.get(claimed.kind)
        if recipient is None or purpose is None:
            return self.texts.write(claimed.kind, address)
        token = new_one_time_token()
        await one_time_tokens.store(
            connection,
            user_id=recipient.user_id,
            purpose=purpose,
            token_hash=hash_token(token),
            life=self.texts.life(purpose),
        )
        return self.texts.write(claimed.kind, address, token)

    async def _settle_failure(self, claimed: ClaimedEmail, error: EmailError) -> None:
        is_last = error.is_permanent or claimed.attempts >= MAX_ATTEMPTS
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            if is_last:
                await email_outbox.remove(connection, claimed)
            else:
                await email_outbox.postpone(connection, claimed, delay=_delay(claimed.attempts))
        if is_last:
            _log_given_up(claimed, str(error))
        else:
            logger.warning(
                "mail postponed", extra={"kind": claimed.kind, "attempt": claimed.attempts, "reason": str(error)}
            )


@asynccontextmanager
async def open_email_outbox(settings: Settings, database: Database) -> AsyncIterator[EmailOutbox]:
    """Open the outbox and send what is in it until the block ends; without `MAIL_URL` it stays empty."""
    transport = open_email_transport(settings)
    outbox = EmailOutbox(is_on=transport is not None)
    if transport is None:
        yield outbox
        return
    delivery = EmailDelivery(
        database=database,
        transport=transport,
        texts=EmailTemplates(
            project=settings.PROJECT_NAME,
            public_url=settings.PUBLIC_URL,
            verification_life=timedelta(hours=settings.VERIFICATION_TOKEN_EXPIRE_HOURS),
            reset_life=timedelta(minutes=settings.RESET_TOKEN_EXPIRE_MINUTES),
        ),
        outbox=outbox,
        lease=timedelta(seconds=settings.MAIL_TIMEOUT) + LEASE_MARGIN,
    )
    async with delivery.running():
        yield outbox


def _applies(kind: EmailKind, recipient: Recipient | None) -> bool:
    if recipient is None or not recipient.is_active:
        return False
    return not (kind == "verify_email" and recipient.is_verified)


def _delay(attempts: int) -> timedelta:
    # Spread out, so that what failed together does not come back together.
    doubled = float(2 ** (attempts - 1))
    return FIRST_DELAY * doubled * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - not a secret


def _log_given_up(claimed: ClaimedEmail, reason: str) -> None:
    logger.error("mail given up", extra={"kind": claimed.kind, "attempt": claimed.attempts, "reason": reason})
