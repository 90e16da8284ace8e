"""Email transports: SMTP, and a directory of files for development."""

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
from app.core.schema_types import new_id

Security = Literal["starttls", "tls", "none"]

_SECURITY: dict[str, Security] = {"smtp": "starttls", "smtps": "tls", "smtp+plain": "none"}
_DEFAULT_PORTS: dict[Security, int] = {"starttls": 587, "tls": 465, "none": 25}
_PERMANENT_REPLY_CODE = 500


@dataclass(frozen=True, slots=True)
class Email:
    """Plain-text email to one recipient."""

    recipient: str
    subject: str
    text: str


class EmailError(Exception):
    """An email was not accepted. The message names the kind of failure and is safe for logs: it has no address."""

    def __init__(self, reason: str, *, is_permanent: bool) -> None:
        """`is_permanent`: a retry of this email cannot succeed."""
        self.is_permanent = is_permanent
        super().__init__(reason)


class EmailTransport(Protocol):
    """Port for sending email."""

    async def send(self, mail: Email) -> None:
        """Send an email. Return when the server, or the directory, has accepted it.

        Raises:
            EmailError: it was not accepted within `MAIL_TIMEOUT`.

        """


def open_email_transport(settings: Settings) -> EmailTransport | None:
    """Return the transport for `MAIL_URL`. None: sending email is disabled. It connects at the first email."""
    if settings.MAIL_URL is None:
        return None
    parts = urlsplit(settings.MAIL_URL)
    if parts.scheme == "file":
        return FileTransport(Path(unquote(parts.path)), sender=settings.MAIL_FROM, max_seconds=settings.MAIL_TIMEOUT)
    return SmtpTransport(
        SmtpServer.from_url(settings.MAIL_URL), sender=settings.MAIL_FROM, max_seconds=settings.MAIL_TIMEOUT
    )


def compose(mail: Email, sender: str) -> EmailMessage:
    """Return the email as a message in the Internet Message Format (RFC 5322).

    Raises:
        EmailError: the address is invalid, or the subject cannot be a header.

    """
    message = EmailMessage()
    message["From"] = sender
    try:
        # The validation rejects header injection and further recipients; the library rejects line breaks as well.
        address = validate_email(mail.recipient, check_deliverability=False)
        # The domain in ASCII (RFC 5891), because not every server accepts Unicode.
        message["To"] = Address(username=address.local_part, domain=address.ascii_domain)
        message["Subject"] = mail.subject
    except ValueError as error:
        raise EmailError("malformed", is_permanent=True) from error
    message["Date"] = localtime()
    message["Message-ID"] = make_msgid(domain=parseaddr(sender)[1].rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: suppresses automatic replies
    # The library's default encoding would break long lines, and links with them.
    message.set_content(mail.text, cte="7bit" if mail.text.isascii() else "8bit")
    return message


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Address, security and credentials of an SMTP server."""

    host: str
    port: int
    security: Security
    """`starttls` and `tls` fail without TLS, or without a valid certificate for `host`."""
    username: str | None = None
    password: str | None = None

    @classmethod
    def from_url(cls, url: str) -> "SmtpServer":
        """Parse a URL that the settings have validated. User name and password in it are percent-encoded."""
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
    """Sends each email to an SMTP server, over a separate connection."""

    def __init__(
        self, server: SmtpServer, *, sender: str, max_seconds: float, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls` replaces the system's trust store."""
        self._server = server
        self._sender = sender
        self._max_seconds = max_seconds
        self._tls = tls

    async def send(self, mail: Email) -> None:
        """Send an email; see `EmailTransport`."""
        message = compose(mail, self._sender)
        client = self._client()
        is_accepted = False
        try:
            async with asyncio.timeout(self._max_seconds):
                await client.connect()
                await client.send_message(message)
                is_accepted = True
                await client.quit()
        except (SMTPException, OSError, ValueError) as error:  # TimeoutError is an OSError
            # A failure of QUIT after the server has accepted the email is ignored.
            if not is_accepted:
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
            # Timeout of each command; `send` limits the total.
            timeout=self._max_seconds,
        )


class FileTransport:
    """Writes each email to a directory as an `.eml` file, whose names sort by time."""

    def __init__(self, directory: Path, *, sender: str, max_seconds: float) -> None:
        self._directory = directory
        self._sender = sender
        self._max_seconds = max_seconds

    async def send(self, mail: Email) -> None:
        """Write an email; see `EmailTransport`."""
        content = compose(mail, self._sender).as_bytes()
        try:
            async with asyncio.timeout(self._max_seconds):
                await asyncio.to_thread(self._write, content)
        except OSError as error:  # TimeoutError is an OSError
            raise EmailError(type(error).__name__, is_permanent=False) from error

    def _write(self, content: bytes) -> None:
        # Readable by the owner only, because the links in emails give access to accounts.
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
        # Replies about this email. Replies to a greeting or a login concern the server, so they are temporary.
        case SMTPRecipientRefused(code=code) | SMTPSenderRefused(code=code) | SMTPDataError(code=code):
            return EmailError(f"reply {code}", is_permanent=code >= _PERMANENT_REPLY_CODE)
        case _:
            return EmailError(type(error).__name__, is_permanent=False)
