"""A real SMTP server, and emails to send to it."""

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from app.services.email.transport import Email, EmailError, EmailTransport, SmtpServer, SmtpTransport

SENDER = "Chat <no-reply@example.com>"
LINK = "https://chat.example.com/reset-password#token=" + "x" * 60
MAIL = Email("Ada@example.com", "Reset your password", f"Hello,\n\nopen this:\n\n{LINK}\n.\nBye\n")


class SmtpHandler:
    """Handler of a real SMTP server, which records the messages or refuses them with a given reply."""

    def __init__(self, **refusals: str) -> None:
        self.refusals = refusals
        self.envelopes: list[Envelope] = []
        self.encrypted: list[bool] = []
        self.logins: list[LoginPassword] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.refusals.get("RCPT", "250 OK")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - likewise
        if "DATA" not in self.refusals:
            self.envelopes.append(envelope)
            assert server.transport is not None
            self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return self.refusals.get("DATA", "250 taken")

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - likewise
        if "QUIT" in self.refusals:
            await asyncio.sleep(60)
        return "221 Bye"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, credentials: LoginPassword
    ) -> AuthResult:
        self.logins.append(credentials)
        return AuthResult(success=credentials.password == b"p@ss/word", handled=False)

    def received(self) -> list[EmailMessage]:
        return [parse_message(envelope.content) for envelope in self.envelopes]


def parse_message(content: bytes | str | None) -> EmailMessage:
    assert isinstance(content, bytes)
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


@asynccontextmanager
async def serve_protocol(
    protocol: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve a protocol on a free port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "localhost", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def mail_server(handler: SmtpHandler, **options: Any) -> AbstractAsyncContextManager[int]:  # noqa: ANN401 - aiosmtpd's
    tls = options.pop("implicit_tls", None)
    return serve_protocol(lambda: SMTP(handler, loop=asyncio.get_running_loop(), hostname="mail", **options), tls)


def smtp_transport(url: str, *, tls: ssl.SSLContext | None = None, max_seconds: float = 60) -> SmtpTransport:
    return SmtpTransport(SmtpServer.from_url(url), sender=SENDER, max_seconds=max_seconds, tls=tls)


async def assert_refused(transport: EmailTransport, *, is_permanent: bool) -> EmailError:
    with pytest.raises(EmailError) as refusal:
        await transport.send(MAIL)
    assert refusal.value.is_permanent == is_permanent
    assert "@" not in str(refusal.value)
    return refusal.value
