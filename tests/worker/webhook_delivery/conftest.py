from collections.abc import AsyncIterator, Iterator

import pytest

from app.database.connection import Database
from app.worker import webhook_delivery
from app.worker.webhook_delivery import WebhookDeliveryJob
from tests.support.receiver import Receiver, running_receiver
from tests.support.waiting import LONGEST_WAIT
from tests.worker.webhook_delivery.deliveries import open_delivery_job


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def other_receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each run of the job last until everything has been delivered, however slow the machine is."""
    monkeypatch.setattr(webhook_delivery, "_RUN_SECONDS", LONGEST_WAIT)


@pytest.fixture
async def delivery(pool: Database) -> AsyncIterator[WebhookDeliveryJob]:
    async with open_delivery_job(pool) as delivery:
        yield delivery
