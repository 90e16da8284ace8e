"""The mail port: to a mail server, or into a directory where there is none."""

import asyncio
import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import localtime, make_msgid, parseaddr
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import unquote, urlsplit

from aiosmtplib import (
    SMTP,
    SMTPDataError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPRecipientsRefused,
    SMTPSenderRefused,
)
from email_validator import validate_email

from app.config import Settings
from app.core.types import new_id

Security = Literal["starttls", "tls", "none"]

_SECURITY: dict[str, Security] = {"smtp": "starttls", "smtps": "tls", "smtp+plain": "none"}
_DEFAULT_PORTS: dict[Security, int] = {"starttls": 587, "tls": 465, "none": 25}
_PERMANENT_REPLY_CODE = 500


@dataclass(frozen=True, slots=True)
class Email:
    """One mail to one person, in plain text."""

    recipient: str
    subject: str
    text: str


class EmailError(Exception):
    """The mail was not taken. The text names the kind of failure and is fit for a log: it holds no address."""

    def __init__(self, reason: str, *, is_permanent: bool) -> None:
        """`is_permanent`: this mail will never be taken, so do not try again."""
        self.is_permanent = is_permanent
        super().__init__(reason)


class EmailTransport(Protocol):
    """Takes mails over."""

    async def send(self, mail: Email) -> None:
        """Return when the mail is taken: from then on its delivery is somebody else's duty.

        Raises:
            MailError: it was not, or nobody said so within `MAIL_TIMEOUT`.

        """


def open_email_transport(settings: Settings) -> EmailTransport | None:
    """Return the transport that `MAIL_URL` names; None: no mail is sent. Nothing is opened before the first mail."""
    if settings.MAIL_URL is None:
        return None
    parts = urlsplit(settings.MAIL_URL)
    if parts.scheme == "file":
        return FileTransport(Path(unquote(parts.path)), sender=settings.MAIL_FROM, max_seconds=settings.MAIL_TIMEOUT)
    return SmtpTransport(
        SmtpServer.from_url(settings.MAIL_URL), sender=settings.MAIL_FROM, max_seconds=settings.MAIL_TIMEOUT
    )


def compose(mail: Email, sender: str) -> EmailMessage:
    """Put a mail into the Internet's format (RFC 5322).

    Raises:
        MailError: the address is none, or the subject does not fit into a header.

    """
    message = EmailMessage()
    message["From"] = sender
    try:
        # Whatever could add a header or a recipient is refused here, and line breaks by the library once more.
        address = validate_email(mail.recipient, check_deliverability=False)
        # The domain in ASCII (RFC 5891), which any server takes.
        message["To"] = Address(username=address.local_part, domain=address.ascii_domain)
        message["Subject"] = mail.subject
    except ValueError as error:
        raise EmailError("malformed", is_permanent=True) from error
    message["Date"] = localtime()
    message["Message-ID"] = make_msgid(domain=parseaddr(sender)[1].rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: vacation notices do not answer
    # Links are longer than what the library would leave in one piece.
    message.set_content(mail.text, cte="7bit" if mail.text.isascii() else "8bit")
    return message


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where a mail server is, and how to be let in."""

    host: str
    port: int
    security: Security
    """`starttls` and `tls` refuse a server that cannot, or whose certificate is not good for `host`."""
    username: str | None = None
    password: str | None = None

    @classmethod
    def from_url(cls, url: str) -> "SmtpServer":
        """Read a URL that the settings have checked; user and password are percent-encoded there."""
        parts = urlsplit(url)
        security = _SECURITY[parts.scheme]
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or _DEFAULT_PORTS[security],
            security=security,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )


class SmtpTransport:
    """Hands each mail to a mail server, over a connection of its own."""

    def __init__(
        self, server: SmtpServer, *, sender: str, max_seconds: float, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls` replaces the system's idea of whom to trust."""
        self._server = server
        self._sender = sender
        self._max_seconds = max_seconds
        self._tls = tls

    async def send(self, mail: Email) -> None:
        """Hand the mail over; see `EmailTransport`."""
        message = compose(mail, self._sender)
        client = self._client()
        is_taken = False
        try:
            async with asyncio.timeout(self._max_seconds):
                await client.connect()
                await client.send_message(message)
                is_taken = True
                await client.quit()
        except (SMTPException, OSError, ValueError) as error:  # a timeout is an OSError
            # A server that has taken the mail and then says goodbye badly has still taken it.
            if not is_taken:
                raise _translate_error(error) from error
        finally:
            client.close()

    def _client(self) -> SMTP:
        server = self._server
        return SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=self._tls,
            username=server.username,
            password=server.password,
            # Each command's own limit: the whole has one around it.
            timeout=self._max_seconds,
        )


class FileTransport:
    """Puts each mail into a directory as an `.eml` file, for one machine. The names sort by time."""

    def __init__(self, directory: Path, *, sender: str, max_seconds: float) -> None:
        self._directory = directory
        self._sender = sender
        self._max_seconds = max_seconds

    async def send(self, mail: Email) -> None:
        """Write the mail; see `EmailTransport`."""
        content = compose(mail, self._sender).as_bytes()
        try:
            async with asyncio.timeout(self._max_seconds):
                await asyncio.to_thread(self._write, content)
        except OSError as error:  # a timeout is one, too
            raise EmailError(type(error).__name__, is_permanent=False) from error

    def _write(self, content: bytes) -> None:
        # Links in mails open accounts: nobody else may read them.
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{new_id().hex[-8:]}"
        unfinished = self._directory / f".{name}.new"
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(content)
            unfinished.replace(self._directory / f"{name}.eml")
        except OSError:
            with suppress(OSError):
                unfinished.unlink()
            raise


def _translate_error(error: Exception) -> EmailError:
    match error:
        case SMTPRecipientsRefused(recipients=[only]):
            return _translate_error(only)
        # Replies to this mail. Those to a greeting or a login are about the server and us, and will change.
        case SMTPRecipientRefused(code=code) | SMTPSenderRefused(code=code) | SMTPDataError(code=code):
            return EmailError(f"reply {code}", is_permanent=code >= _PERMANENT_REPLY_CODE)
        case _:
            return EmailError(type(error).__name__, is_permanent=False)
