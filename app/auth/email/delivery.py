"""Delivery of the emails in the outbox.

Each process of the auth service runs one delivery loop. An email is sent at least once: twice if a process ends after
the mail server accepted it and before its row is deleted. No PostgreSQL connection is held while a mail server
responds.
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
from app.core.background_tasks import stop_tasks
from app.core.exceptions import DatabaseUnavailableError
from app.core.link_tokens import LinkTokens
from app.core.security import hash_token, new_one_time_token
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseConnection
from app.database.repositories.accounts import email_outbox, invitations, one_time_tokens
from app.database.repositories.accounts.email_outbox import ClaimedEmail, EmailKind, Recipient
from app.database.repositories.accounts.one_time_tokens import TokenPurpose
from app.services.email.transport import Email, EmailError, EmailTransport, open_email_transport

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 8
FIRST_RETRY_DELAY = timedelta(seconds=30)
"""Doubled after each attempt: the eighth follows about an hour after the first."""
LEASE_MARGIN = timedelta(seconds=15)
"""Time that a delivery may take in addition to `MAIL_TIMEOUT`."""

_POLL_INTERVAL = 1.0
"""Seconds after which an idle loop looks for emails that other processes enqueued."""
_POLL_JITTER = 0.2
"""Maximum random delay in seconds after an idle period. An email to an account is more work than one to an unknown
address; without the delay, that work would slow down the next request, whose time would reveal which one it was."""
_STOP_TIMEOUT = 5.0
"""Timeout in seconds for the email that is being sent when the process stops."""
_RETRY_JITTER = 0.2
"""Random part of a retry delay, as a fraction."""

_PURPOSES: dict[EmailKind, TokenPurpose] = {
    "verify_email": "verify_email",
    "reset_password": "reset_password",
    "already_registered": "reset_password",
}


@dataclass(frozen=True, slots=True)
class EmailDelivery:
    """Sends emails from the outbox through the mail server."""

    database: Database
    transport: EmailTransport
    templates: EmailTemplates
    outbox: EmailOutbox
    invitation_tokens: LinkTokens
    lease: timedelta
    """Period for which a claimed email belongs to this process: `MAIL_TIMEOUT` and `LEASE_MARGIN`."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver emails in the background until the block ends, then wait up to 5 s for the one being sent."""
        stopping = asyncio.Event()
        task = asyncio.create_task(self._run(stopping))
        try:
            yield
        finally:
            stopping.set()
            self.outbox.wake()
            await stop_tasks([task], grace=_STOP_TIMEOUT)

    async def deliver_next(self) -> bool:
        """Process the longest overdue email; return False if none is due.

        Raises:
            DatabaseUnavailableError: an email that was claimed is due again when its lease expires.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            claimed = await email_outbox.claim(connection, lease=self.lease)
            if claimed is None:
                return False
            email = await self._render(connection, claimed)
            if email is None:
                await email_outbox.remove(connection, claimed)
                return True
        try:
            await self.transport.send(email)
        except EmailError as error:
            await self._record_failure(claimed, error)
        else:
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await email_outbox.remove(connection, claimed)
            logger.info("email sent", extra={"kind": claimed.kind, "attempt": claimed.attempts})
        return True

    async def _run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            self.outbox.added.clear()
            is_idle = True
            try:
                is_idle = not await self.deliver_next()
            except DatabaseUnavailableError:
                pass  # reported by readiness; the emails stay in the outbox
            except Exception:
                logger.exception("email delivery loop failed")
            if is_idle and not stopping.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.outbox.added.wait(), _POLL_INTERVAL)
                await asyncio.sleep(random.uniform(0, _POLL_JITTER))  # noqa: S311 - not a secret

    async def _render(self, connection: DatabaseConnection, claimed: ClaimedEmail) -> Email | None:
        """Return the email for the current state of the account; None if it no longer applies."""
        if claimed.attempts > MAX_ATTEMPTS:  # the process of the last attempt ended before it recorded a result
            _log_permanent_failure(claimed, "unknown")
            return None
        if claimed.kind == "invitation":
            return await self._render_invitation(connection, claimed)
        recipient = await email_outbox.find_recipient(connection, claimed.recipient)
        if not _is_applicable(claimed.kind, recipient):
            await self.outbox.refund(connection, claimed.kind, claimed.recipient)
            return None
        # The registered spelling: mailboxes may be case-sensitive (RFC 5321, section 2.4), the lookup is not.
        address = recipient.email if recipient else claimed.recipient
        purpose = _PURPOSES.get(claimed.kind)
        if recipient is None or purpose is None:
            return self.templates.render(claimed.kind, address)
        token = new_one_time_token()
        is_stored = await one_time_tokens.store(
            connection,
            user_id=recipient.user_id,
            purpose=purpose,
            token_hash=hash_token(token),
            life=self.templates.token_lifetime(purpose),
        )
        if not is_stored:
            return None  # the account is being erased, and the email with it
        return self.templates.render(claimed.kind, address, token)

    async def _render_invitation(self, connection: DatabaseConnection, claimed: ClaimedEmail) -> Email | None:
        invitation = await invitations.find_open(connection, claimed.recipient)
        if invitation is None:  # revoked or expired, or the address has got an account
            await self.outbox.refund(connection, claimed.kind, claimed.recipient)
            return None
        return self.templates.render(claimed.kind, invitation.email, self.invitation_tokens.issue(invitation.uuid))

    async def _record_failure(self, claimed: ClaimedEmail, error: EmailError) -> None:
        is_last = error.is_permanent or claimed.attempts >= MAX_ATTEMPTS
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            if is_last:
                await email_outbox.remove(connection, claimed)
            else:
                await email_outbox.postpone(connection, claimed, delay=_retry_delay(claimed.attempts))
        if is_last:
            _log_permanent_failure(claimed, str(error))
        else:
            logger.warning(
                "email delivery failed, will be retried",
                extra={"kind": claimed.kind, "attempt": claimed.attempts, "reason": str(error)},
            )


@asynccontextmanager
async def open_email_outbox(
    settings: Settings, database: Database, invitation_tokens: LinkTokens
) -> AsyncIterator[EmailOutbox]:
    """Open the outbox and deliver its emails until the block ends; without `MAIL_URL` it is disabled."""
    transport = open_email_transport(settings)
    reset_lifetime = timedelta(minutes=settings.RESET_TOKEN_EXPIRE_MINUTES)
    outbox = EmailOutbox(is_enabled=transport is not None, reset_lifetime=reset_lifetime)
    if transport is None:
        yield outbox
        return
    delivery = EmailDelivery(
        database=database,
        transport=transport,
        templates=EmailTemplates(
            project_name=settings.PROJECT_NAME,
            public_url=settings.PUBLIC_URL,
            verification_lifetime=timedelta(hours=settings.VERIFICATION_TOKEN_EXPIRE_HOURS),
            reset_lifetime=reset_lifetime,
            invitation_lifetime=timedelta(days=settings.INVITATION_EXPIRE_DAYS),
        ),
        outbox=outbox,
        invitation_tokens=invitation_tokens,
        lease=timedelta(seconds=settings.MAIL_TIMEOUT) + LEASE_MARGIN,
    )
    async with delivery.running():
        yield outbox


def _is_applicable(kind: EmailKind, recipient: Recipient | None) -> bool:
    if recipient is None or not recipient.is_active:
        return False
    return not (kind == "verify_email" and recipient.is_verified)


def _retry_delay(attempts: int) -> timedelta:
    # With jitter, so that emails that failed together are not retried together.
    factor = float(2 ** (attempts - 1))
    return FIRST_RETRY_DELAY * factor * random.uniform(1 - _RETRY_JITTER, 1 + _RETRY_JITTER)  # noqa: S311 - not a secret


def _log_permanent_failure(claimed: ClaimedEmail, reason: str) -> None:
    logger.error(
        "email delivery failed permanently",
        extra={"kind": claimed.kind, "attempt": claimed.attempts, "reason": reason},
    )
