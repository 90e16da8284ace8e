"""Emails in the outbox, and accounts that receive them."""

from collections.abc import Callable
from datetime import timedelta

from app.auth.email.delivery import EmailDelivery
from app.auth.email.templates import EmailTemplates
from app.database.repositories.accounts.email_outbox import EmailKind
from tests.fixtures.database import Sql
from tests.support.fakes import FakeEmailTransport

TEMPLATES = EmailTemplates(
    project_name="Chat",
    public_url="https://chat.example.com",
    verification_lifetime=timedelta(hours=24),
    reset_lifetime=timedelta(minutes=30),
    invitation_lifetime=timedelta(days=7),
)


MakeDelivery = Callable[[FakeEmailTransport], EmailDelivery]


def make_account(
    sql: Sql, email: str = "ada@example.com", /, *, is_active: bool = True, is_verified: bool = False
) -> None:
    sql.do(
        "INSERT INTO users (uuid, username, password_hash, email, is_active, is_verified)"
        " VALUES (gen_random_uuid(), 'ada', 'x', %s, %s, %s)",
        [email, is_active, is_verified],
    )


async def enqueue(delivery: EmailDelivery, kind: EmailKind, recipient: str = "ada@example.com") -> None:
    async with delivery.database.autocommit() as connection:
        await delivery.outbox.enqueue(connection, kind, recipient)


def count_queued_emails(sql: Sql) -> int:
    return int(sql.value("SELECT count(*) FROM outgoing_mails"))
