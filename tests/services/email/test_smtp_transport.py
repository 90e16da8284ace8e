"""The SMTP transport: encryption, authentication, replies and timeouts."""

import asyncio
import ssl
import time

import pytest
import trustme
from aiosmtpd.smtp import LoginPassword

from tests.services.email.smtp_server import (
    MAIL,
    SmtpHandler,
    assert_refused,
    mail_server,
    serve_protocol,
    smtp_transport,
)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_starttls_encrypts_before_authentication(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    handler = SmtpHandler()
    options = {"tls_context": server_tls, "require_starttls": True, "auth_required": True}
    async with mail_server(handler, authenticator=handler.authenticate, **options) as port:
        await smtp_transport(f"smtp://us%40er:p%40ss%2Fword@localhost:{port}", tls=client_tls).send(MAIL)
    assert handler.encrypted == [True]
    assert handler.logins == [LoginPassword(b"us@er", b"p@ss/word")]
    assert handler.envelopes[0].rcpt_tos == [MAIL.recipient]
    assert handler.envelopes[0].mail_from == "no-reply@example.com"


async def test_smtps_is_encrypted_from_the_start(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    handler = SmtpHandler()
    async with mail_server(handler, implicit_tls=server_tls) as port:
        await smtp_transport(f"smtps://localhost:{port}", tls=client_tls).send(MAIL)
    assert handler.encrypted == [True]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_server_with_an_untrusted_certificate_receives_nothing(server_tls: ssl.SSLContext, scheme: str) -> None:
    handler = SmtpHandler()
    options = {"implicit_tls": server_tls} if scheme == "smtps" else {"tls_context": server_tls}
    async with mail_server(handler, **options) as port:
        await assert_refused(smtp_transport(f"{scheme}://user:p%40ss%2Fword@localhost:{port}"), is_permanent=False)
    assert (handler.envelopes, handler.logins) == ([], [])


async def test_a_server_without_starttls_receives_nothing() -> None:
    handler = SmtpHandler()
    async with mail_server(handler) as port:
        await assert_refused(smtp_transport(f"smtp://localhost:{port}"), is_permanent=False)
    assert handler.envelopes == []


async def test_failed_authentication_is_temporary() -> None:
    handler = SmtpHandler()
    async with mail_server(handler, auth_require_tls=False, authenticator=handler.authenticate) as port:
        await assert_refused(smtp_transport(f"smtp+plain://user:wrong@localhost:{port}"), is_permanent=False)
    assert handler.logins


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
@pytest.mark.parametrize(("reply", "is_permanent"), [("451 later", False), ("550 no such user", True)])
async def test_5xx_replies_are_permanent_and_4xx_temporary(command: str, reply: str, is_permanent: bool) -> None:  # noqa: FBT001 - a parameter
    handler = SmtpHandler(**{command: reply})
    async with mail_server(handler) as port:
        error = await assert_refused(smtp_transport(f"smtp+plain://localhost:{port}"), is_permanent=is_permanent)
    assert str(error) == f"reply {reply[:3]}"
    assert handler.envelopes == []


async def test_a_refused_connection_is_temporary() -> None:
    async with mail_server(SmtpHandler()) as port:
        pass
    await assert_refused(smtp_transport(f"smtp+plain://localhost:{port}"), is_permanent=False)


async def test_a_silent_server_times_out() -> None:
    started = time.monotonic()
    async with serve_protocol(asyncio.Protocol) as port:
        await assert_refused(smtp_transport(f"smtp+plain://localhost:{port}", max_seconds=0.3), is_permanent=False)
    assert time.monotonic() - started < 30


async def test_a_slow_server_times_out_in_total() -> None:
    async with serve_protocol(SlowServer) as port:
        await assert_refused(smtp_transport(f"smtp+plain://localhost:{port}", max_seconds=0.5), is_permanent=False)


class SlowServer(asyncio.Protocol):
    """Accepts any message, and delays each reply by 0.3 s: each reply is in time, all of them together are not."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._reply(b"220 mail\r\n")

    def data_received(self, data: bytes) -> None:
        self._reply(b"354 go on\r\n" if data.startswith(b"DATA") else b"250 OK\r\n")

    def _reply(self, reply: bytes) -> None:
        asyncio.get_running_loop().call_later(0.3, self._transport.write, reply)


async def test_a_failure_after_acceptance_is_ignored() -> None:
    handler = SmtpHandler(QUIT="never")
    async with mail_server(handler) as port:
        await smtp_transport(f"smtp+plain://localhost:{port}", max_seconds=2).send(MAIL)
    assert len(handler.envelopes) == 1
