"""Conformance suite of the email transports, and the URLs that select one."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
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
from tests.services.email.smtp_server import LINK, MAIL, SENDER, SmtpHandler, mail_server, parse_message, smtp_transport
from tests.support.fakes import FakeEmailTransport


@dataclass(frozen=True)
class RecordedTransport:
    """A transport, and the messages that it has delivered."""

    transport: EmailTransport
    received: Callable[[], list[EmailMessage]]


@pytest.fixture(params=["smtp", "file", "fake"])
async def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RecordedTransport]:
    match request.param:
        case "smtp":
            handler = SmtpHandler()
            async with mail_server(handler, enable_SMTPUTF8=True) as port:
                yield RecordedTransport(smtp_transport(f"smtp+plain://localhost:{port}"), handler.received)
        case "file":
            directory = tmp_path / "outbox" / "mail"
            yield RecordedTransport(
                FileTransport(directory, sender=SENDER, max_seconds=60),
                lambda: [parse_message(file.read_bytes()) for file in sorted(directory.glob("*"))],
            )
        case _:
            fake = FakeEmailTransport()
            yield RecordedTransport(fake, lambda: fake.composed)


async def test_an_email_arrives_unchanged(recorded: RecordedTransport) -> None:
    await recorded.transport.send(MAIL)
    (message,) = recorded.received()
    assert (message["To"], message["Subject"], message["From"]) == (MAIL.recipient, MAIL.subject, SENDER)
    assert message.get_content().replace("\r\n", "\n") == MAIL.text
    assert LINK in message.as_string().splitlines()
    assert message["Message-ID"].endswith("@example.com>")
    assert abs(parsedate_to_datetime(message["Date"]).timestamp() - time.time()) < 60


async def test_emails_arrive_in_order(recorded: RecordedTransport) -> None:
    for number in range(5):
        await recorded.transport.send(Email(MAIL.recipient, f"Number {number}", MAIL.text))
    messages = recorded.received()
    assert [message["Subject"] for message in messages] == [f"Number {number}" for number in range(5)]
    assert len({message["Message-ID"] for message in messages}) == 5


async def test_unicode_text_arrives_unchanged(recorded: RecordedTransport) -> None:
    await recorded.transport.send(Email("ada@bücher.example", "Grüße 🙂", "Schöne Grüße 🙂\n"))
    (message,) = recorded.received()
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
async def test_headers_and_recipients_cannot_be_injected(recorded: RecordedTransport, mail: Email) -> None:
    with pytest.raises(EmailError) as refusal:
        await recorded.transport.send(mail)
    assert refusal.value.is_permanent
    assert recorded.received() == []


async def test_text_cannot_end_the_message_early(recorded: RecordedTransport) -> None:
    text = "one\n.\nMAIL FROM:<eve@example.com>\n..\nend\n"
    await recorded.transport.send(Email(MAIL.recipient, MAIL.subject, text))
    (message,) = recorded.received()
    assert message.get_content().replace("\r\n", "\n") == text


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


def test_the_scheme_chooses_the_transport(make_settings: Callable[[str | None], Settings]) -> None:
    assert open_email_transport(make_settings(None)) is None
    assert isinstance(open_email_transport(make_settings("smtp://h")), SmtpTransport)
    assert isinstance(open_email_transport(make_settings("file:///tmp/mail")), FileTransport)


async def test_a_directory_may_have_any_name(make_settings: Callable[[str | None], Settings], tmp_path: Path) -> None:
    directory = tmp_path / "my mail %41"
    transport = open_email_transport(make_settings(f"file://{directory.as_uri().removeprefix('file://')}"))
    assert transport is not None
    await transport.send(MAIL)
    assert len(list(directory.glob("*.eml"))) == 1


@pytest.fixture
def make_settings() -> Callable[[str | None], Settings]:
    def make(url: str | None) -> Settings:
        return Settings(
            _env_file=None,
            DATABASE_URL="postgresql://h/d",
            SECRET_KEY=SecretStr("a key of the test run, of no use elsewhere"),
            MAIL_URL=url,
        )

    return make
