from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from app.auth.email.delivery import EmailDelivery
from app.auth.email.outbox import EmailOutbox
from app.config import Settings
from app.database.connection import Database
from tests.auth.email.deliveries import TEMPLATES
from tests.fixtures.database import Sql
from tests.fixtures.world import INVITATION_TOKENS
from tests.support.fakes import FakeEmailTransport


@pytest.fixture
async def database(settings: Settings, sql: Sql) -> AsyncIterator[Database]:
    database = Database.from_settings(settings, application_name="test")
    yield database
    await database.close()


@pytest.fixture
def make_delivery(database: Database) -> Callable[[FakeEmailTransport], EmailDelivery]:
    """Function that returns an email delivery with the given transport."""

    def make(transport: FakeEmailTransport) -> EmailDelivery:
        return EmailDelivery(
            database=database,
            transport=transport,
            templates=TEMPLATES,
            outbox=EmailOutbox(is_enabled=True),
            invitation_tokens=INVITATION_TOKENS,
            lease=timedelta(seconds=60),
        )

    return make
