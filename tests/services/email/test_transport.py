"""Conformance suite of the email transports, and faults of an SMTP server."""

import asyncio
import email
import email.policy
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from pydantic import SecretStr

from app.config import Settings
from app.services.email.transport import (
    Email,
    EmailError,
    EmailTransport,
    FileTransport,
    SmtpServer,
    SmtpTransport,
    open_email_transport,
)
from tests.support.fakes import FakeEmailTransport

SENDER = "Chat <no-reply@example.com>"
LINK = "https://chat.example.com/reset-password#token=" + "x" * 60
MAIL = Email("Ada@example.com", "Reset your password", f"Hello,\n\nopen this:\n\n{LINK}\n.\nBye\n")


class Mailbox:
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
        return [parsed(envelope.content) for envelope in self.envelopes]


def parsed(content: bytes | str | None) -> EmailMessage:
    assert isinstance(content, bytes)
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def listening(protocol: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve a protocol on a free port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "localhost", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def mail_server(mailbox: Mailbox, **options: Any) -> AbstractAsyncContextManager[int]:  # noqa: ANN401 - aiosmtpd's
    tls = options.pop("implicit_tls", None)
    return listening(lambda: SMTP(mailbox, loop=asyncio.get_running_loop(), hostname="mail", **options), tls)


def smtp(url: str, *, tls: ssl.SSLContext | None = None, max_seconds: float = 60) -> SmtpTransport:
    return SmtpTransport(SmtpServer.from_url(url), sender=SENDER, max_seconds=max_seconds, tls=tls)


@dataclass(frozen=True)
class Post:
    """A transport, and the messages that it has delivered."""

    transport: EmailTransport
    received: Callable[[], list[EmailMessage]]


@pytest.fixture(params=["smtp", "file", "fake"])
async def post(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Post]:
    match request.param:
        case "smtp":
            mailbox = Mailbox()
            async with mail_server(mailbox, enable_SMTPUTF8=True) as port:
                yield Post(smtp(f"smtp+plain://localhost:{port}"), mailbox.received)
        case "file":
            directory = tmp_path / "outbox" / "mail"
            yield Post(
                FileTransport(directory, sender=SENDER, max_seconds=60),
                lambda: [parsed(file.read_bytes()) for file in sorted(directory.glob("*"))],
            )
        case _:
            fake = FakeEmailTransport()
            yield Post(fake, lambda: fake.composed)


async def test_an_email_arrives_unchanged(post: Post) -> None:
    await post.transport.send(MAIL)
    (message,) = post.received()
    assert (message["To"], message["Subject"], message["From"]) == (MAIL.recipient, MAIL.subject, SENDER)
    assert message.get_content().replace("\r\n", "\n") == MAIL.text
    assert LINK in message.as_string().splitlines()
    assert message["Message-ID"].endswith("@example.com>")
    assert abs(parsedate_to_datetime(message["Date"]).timestamp() - time.time()) < 60


async def test_emails_arrive_in_order(post: Post) -> None:
    for number in range(5):
        await post.transport.send(Email(MAIL.recipient, f"Number {number}", MAIL.text))
    messages = post.received()
    assert [message["Subject"] for message in messages] == [f"Number {number}" for number in range(5)]
    assert len({message["Message-ID"] for message in messages}) == 5


async def test_unicode_text_arrives_unchanged(post: Post) -> None:
    await post.transport.send(Email("ada@bücher.example", "Grüße 🙂", "Schöne Grüße 🙂\n"))
    (message,) = post.received()
    assert message["To"] == "ada@xn--bcher-kva.example"
    assert message["Subject"] == "Grüße 🙂"
    assert message.get_content().strip() == "Schöne Grüße 🙂"


@pytest.mark.parametrize(
    "mail",
    [
        Email("ada@example.com\r\nBcc: eve@example.com", "Hi", ""),
        Email("ada@example.com\nBcc: eve@example.com", "Hi", ""),
        Email("ada@example.com, eve@example.com", "Hi", ""),
        Email("ada@example.com> RCPT TO:<eve@example.com", "Hi", ""),
        Email("ada", "Hi", ""),
        Email("", "Hi", ""),
        Email("ada@example.com", "Hi\r\nBcc: eve@example.com", ""),
        Email("ada@example.com", "Hi\nBcc: eve@example.com", ""),
    ],
    ids=range(8),
)
async def test_headers_and_recipients_cannot_be_injected(post: Post, mail: Email) -> None:
    with pytest.raises(EmailError) as refusal:
        await post.transport.send(mail)
    assert refusal.value.is_permanent
    assert post.received() == []


async def test_text_cannot_end_the_message_early(post: Post) -> None:
    text = "one\n.\nMAIL FROM:<eve@example.com>\n..\nend\n"
    await post.transport.send(Email(MAIL.recipient, MAIL.subject, text))
    (message,) = post.received()
    assert message.get_content().replace("\r\n", "\n") == text


async def test_starttls_encrypts_before_authentication(server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    mailbox = Mailbox()
    options = {"tls_context": server_tls, "require_starttls": True, "auth_required": True}
    async with mail_server(mailbox, authenticator=mailbox.authenticate, **options) as port:
        await smtp(f"smtp://us%40er:p%40ss%2Fword@localhost:{port}", tls=trusting).send(MAIL)
    assert mailbox.encrypted == [True]
    assert mailbox.logins == [LoginPassword(b"us@er", b"p@ss/word")]
    assert mailbox.envelopes[0].rcpt_tos == [MAIL.recipient]
    assert mailbox.envelopes[0].mail_from == "no-reply@example.com"


async def test_smtps_is_encrypted_from_the_start(server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox, implicit_tls=server_tls) as port:
        await smtp(f"smtps://localhost:{port}", tls=trusting).send(MAIL)
    assert mailbox.encrypted == [True]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_server_with_an_untrusted_certificate_receives_nothing(server_tls: ssl.SSLContext, scheme: str) -> None:
    mailbox = Mailbox()
    options = {"implicit_tls": server_tls} if scheme == "smtps" else {"tls_context": server_tls}
    async with mail_server(mailbox, **options) as port:
        await assert_refused(smtp(f"{scheme}://user:p%40ss%2Fword@localhost:{port}"), is_permanent=False)
    assert (mailbox.envelopes, mailbox.logins) == ([], [])


async def test_a_server_without_starttls_receives_nothing() -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        await assert_refused(smtp(f"smtp://localhost:{port}"), is_permanent=False)
    assert mailbox.envelopes == []


async def test_failed_authentication_is_temporary() -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox, auth_require_tls=False, authenticator=mailbox.authenticate) as port:
        await assert_refused(smtp(f"smtp+plain://user:wrong@localhost:{port}"), is_permanent=False)
    assert mailbox.logins


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
@pytest.mark.parametrize(("reply", "is_permanent"), [("451 later", False), ("550 no such user", True)])
async def test_5xx_replies_are_permanent_and_4xx_temporary(command: str, reply: str, is_permanent: bool) -> None:  # noqa: FBT001 - a parameter
    mailbox = Mailbox(**{command: reply})
    async with mail_server(mailbox) as port:
        error = await assert_refused(smtp(f"smtp+plain://localhost:{port}"), is_permanent=is_permanent)
    assert str(error) == f"reply {reply[:3]}"
    assert mailbox.envelopes == []


async def test_a_refused_connection_is_temporary() -> None:
    async with mail_server(Mailbox()) as port:
        pass
    await assert_refused(smtp(f"smtp+plain://localhost:{port}"), is_permanent=False)


async def test_a_silent_server_times_out() -> None:
    started = time.monotonic()
    async with listening(asyncio.Protocol) as port:
        await assert_refused(smtp(f"smtp+plain://localhost:{port}", max_seconds=0.3), is_permanent=False)
    assert time.monotonic() - started < 30


async def test_a_slow_server_times_out_in_total() -> None:
    async with listening(Slow) as port:
        await assert_refused(smtp(f"smtp+plain://localhost:{port}", max_seconds=0.5), is_permanent=False)


class Slow(asyncio.Protocol):
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
    mailbox = Mailbox(QUIT="never")
    async with mail_server(mailbox) as port:
        await smtp(f"smtp+plain://localhost:{port}", max_seconds=2).send(MAIL)
    assert len(mailbox.envelopes) == 1


async def test_files_are_complete_private_and_sorted_by_time(tmp_path: Path) -> None:
    directory = tmp_path / "mail"
    transport = FileTransport(directory, sender=SENDER, max_seconds=60)
    await asyncio.gather(*(transport.send(MAIL) for _ in range(20)))
    await transport.send(Email(MAIL.recipient, "The last", "x\n"))
    files = sorted(directory.iterdir())
    assert len(files) == 21
    assert {file.suffix for file in files} == {".eml"}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert parsed(files[-1].read_bytes())["Subject"] == "The last"


async def test_an_unwritable_directory_is_temporary(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    await assert_refused(FileTransport(tmp_path / "mail", sender=SENDER, max_seconds=60), is_permanent=False)


async def test_an_incomplete_file_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "replace", fail)
    await assert_refused(FileTransport(tmp_path, sender=SENDER, max_seconds=60), is_permanent=False)
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - one look at an empty directory


async def assert_refused(transport: EmailTransport, *, is_permanent: bool) -> EmailError:
    with pytest.raises(EmailError) as refusal:
        await transport.send(MAIL)
    assert refusal.value.is_permanent == is_permanent
    assert "@" not in str(refusal.value)
    return refusal.value


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://h", SmtpServer("h", 587, "starttls")),
        ("smtps://h", SmtpServer("h", 465, "tls")),
        ("smtp+plain://h:2525", SmtpServer("h", 2525, "none")),
        ("smtp://a%40b.c:%3A%2F%3F%23%25@h", SmtpServer("h", 587, "starttls", "a@b.c", ":/?#%")),
        ("smtp://[::1]:26", SmtpServer("::1", 26, "starttls")),
    ],
)
def test_smtp_urls_are_parsed(url: str, server: SmtpServer) -> None:
    assert SmtpServer.from_url(url) == server


def test_the_scheme_chooses_the_transport(settings_of: Callable[[str | None], Settings]) -> None:
    assert open_email_transport(settings_of(None)) is None
    assert isinstance(open_email_transport(settings_of("smtp://h")), SmtpTransport)
    assert isinstance(open_email_transport(settings_of("file:///tmp/mail")), FileTransport)


async def test_a_directory_may_have_any_name(settings_of: Callable[[str | None], Settings], tmp_path: Path) -> None:
    directory = tmp_path / "my mail %41"
    transport = open_email_transport(settings_of(f"file://{directory.as_uri().removeprefix('file://')}"))
    assert transport is not None
    await transport.send(MAIL)
    assert len(list(directory.glob("*.eml"))) == 1


@pytest.fixture
def settings_of() -> Callable[[str | None], Settings]:
    def make(url: str | None) -> Settings:
        return Settings(
            _env_file=None,
            DATABASE_URL="postgresql://h/d",
            SECRET_KEY=SecretStr("a key of the test run, of no use elsewhere"),
            MAIL_URL=url,
        )

    return make
