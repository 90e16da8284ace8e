"""Workers killed, suspended and stopped during webhook deliveries."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from app.config import Settings
from app.database.connection import Database
from app.database.repositories.webhooks import event_outbox
from app.database.repositories.webhooks.event_outbox import WebhookEvent
from app.worker.webhook_delivery import MAX_CONCURRENT_PER_ENDPOINT
from tests.drills import FULL_SIZE
from tests.drills.conftest import Report
from tests.fixtures.database import Sql
from tests.fixtures.processes import WorkerProcess
from tests.support.provider import Provider, Wire
from tests.support.receiver import Receiver, hangs, held, replies, running_receiver
from tests.support.waiting import closed_gate, wait_until

KILLS = 20 if FULL_SIZE else 3
EVENTS = 2000 if FULL_SIZE else 200
PENDING = "SELECT count(*) FROM webhook_deliveries WHERE type = 'webhook.test' AND status = 'pending'"
LONGEST = 600.0
"""Timeout in seconds for the delivery of all events at full size."""
EXPIRE = "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending'"


@pytest.fixture
def receivers(sql: Sql) -> Iterator[list[Receiver]]:
    """Two receivers with a registered endpoint each."""
    with running_receiver() as first, running_receiver() as second:
        for receiver in (first, second):
            receiver.always(replies(204, after=0.02))
            sql.do(
                "INSERT INTO webhook_endpoints (uuid, url, events) VALUES (%s, %s, '{webhook.test}')",
                [uuid4(), receiver.url],
            )
        yield [first, second]
    sql.do("DELETE FROM webhook_endpoints")
    sql.do("DELETE FROM webhook_deliveries")


class Workers:
    """Two workers."""

    def __init__(self, settings: Settings, home: Path) -> None:
        # The receivers answer when the test lets them, however late that is on a busy machine.
        self._settings = settings.model_copy(update={"WEBHOOK_ALLOWED_HOSTS": ["127.0.0.1"], "WEBHOOK_TIMEOUT": 300})
        self._home = home
        self.running: dict[int, WorkerProcess] = {}

    def start(self, *numbers: int) -> None:
        for number in numbers:
            self.running[number] = WorkerProcess(self._settings, self._home, f"webhook-worker-{number}")
            self.running[number].wait_for("worker started")

    def kill(self, *numbers: int) -> None:
        for number in numbers:
            worker = self.running.pop(number)
            worker.process.kill()
            worker.stop()

    def stop(self) -> None:
        for worker in self.running.values():
            if worker.exit_code() is None:
                worker.process.resume()
            worker.stop()


@pytest.fixture
def workers(settings: Settings, server_home: Path) -> Iterator[Workers]:
    workers = Workers(settings, server_home)
    yield workers
    workers.stop()


def emit(settings: Settings, count: int) -> list[str]:
    """Write events to the outbox and return their ids."""
    events = [WebhookEvent("webhook.test", {}) for _ in range(count)]

    async def write() -> None:
        database = Database.from_settings(settings, application_name="drill")
        async with database.autocommit() as connection:
            for event in events:
                await event_outbox.emit(connection, event)
        await database.close()

    asyncio.run(write())
    return [str(event.id) for event in events]


def received(receiver: Receiver) -> Counter[str]:
    return Counter(request.headers["webhook-id"] for request in receiver.requests)


def hold(receiver: Receiver, gate: threading.Event, *, after: int = 0) -> list[Wire]:
    """Answer a number of requests, then hold as many as two workers can send until the event is set.

    Returns the requests that have been held, a list which grows.
    """
    holding: list[Wire] = []

    async def behave(wire: Wire) -> None:
        holding.append(wire)
        await held(gate)(wire)

    receiver.script(*[replies(204)] * after, *[behave] * (2 * MAX_CONCURRENT_PER_ENDPOINT))
    return holding


def assert_no_concurrent_deliveries(receiver: Receiver) -> None:
    for event in received(receiver):
        requests = [request for request in receiver.requests if request.headers["webhook-id"] == event]
        for one, next_one in pairwise(requests):
            assert one.finished is not None
            assert next_one.started >= one.finished


def test_two_workers_deliver_each_event_once(
    receivers: list[Receiver], workers: Workers, settings: Settings, sql: Sql
) -> None:
    workers.start(1, 2)
    with closed_gate() as gate:
        holding = [hold(receiver, gate) for receiver in receivers]
        events = emit(settings, EVENTS)
        # Both workers deliver: none has more than half of these requests.
        wait_until(lambda: [len(one) for one in holding] == [2 * MAX_CONCURRENT_PER_ENDPOINT] * 2)
    wait_until(lambda: sql.value(PENDING) == 0, timeout=LONGEST)
    for receiver in receivers:
        assert received(receiver) == Counter(events)


def test_killed_workers_lose_no_event(
    receivers: list[Receiver], workers: Workers, settings: Settings, sql: Sql, report: Report
) -> None:
    rng = random.Random(7)  # noqa: S311 - not a secret
    events: list[str] = []
    workers.start(1, 2)
    for number in range(KILLS):
        killed = (1, 2) if number == KILLS - 1 else (rng.choice([1, 2]),)
        with closed_gate() as gate:
            holding = hold(receivers[0], gate, after=15)
            events += emit(settings, 60)
            # Each worker has deliveries under way when it is killed.
            wait_until(lambda holding=holding: len(holding) == 2 * MAX_CONCURRENT_PER_ENDPOINT)  # type: ignore[misc]
            if number < KILLS - 1 and rng.random() < 1 / 2:
                gate.set()  # so that the kill comes while outcomes are stored
            workers.kill(*killed)
        if number < KILLS - 1:
            workers.start(*killed)
    # No worker is running, so all leases may be expired.
    interrupted = sql.value(f"{PENDING} AND attempts > 0")
    assert interrupted > 0
    sql.do(EXPIRE)
    workers.start(1, 2)
    wait_until(lambda: sql.value(PENDING) == 0, timeout=LONGEST)
    repeated = 0
    for receiver in receivers:
        counts = received(receiver)
        assert set(counts) == set(events)
        assert_no_concurrent_deliveries(receiver)
        repeated += sum(count - 1 for count in counts.values())
    # At most the deliveries that the receiver had answered when the worker was killed.
    assert repeated <= (KILLS + 1) * 2 * 4
    report(kills=KILLS, events=len(events) * 2, lost=0, interrupted=interrupted, repeated=repeated)


def test_suspended_worker_does_not_overwrite_the_result_of_another_worker(
    receivers: list[Receiver], workers: Workers, settings: Settings, sql: Sql
) -> None:
    receiver, _ = receivers
    receiver.script(hangs())
    (event,) = emit(settings, 1)
    workers.start(1)
    receiver.wait_for_requests(1)
    workers.running[1].process.suspend()
    sql.do(EXPIRE)
    workers.start(2)
    Provider.wait_until(lambda: sql.value(PENDING) == 0)
    assert received(receiver) == {event: 2}
    workers.running[1].process.resume()
    workers.running[1].process.terminate()
    Provider.wait_until(lambda: workers.running[1].exit_code() is not None)
    assert workers.running[1].exit_code() == 0
    rows = sql.rows("SELECT status, error_code FROM webhook_deliveries WHERE attempts = 2")
    assert {"status": "delivered", "error_code": None} in rows
    assert sql.value("SELECT count(*) FROM webhook_deliveries WHERE status <> 'delivered' OR attempts > 2") == 0
    assert received(receiver) == {event: 2}


def test_stopping_worker_does_not_wait_for_slow_receivers(
    receivers: list[Receiver], workers: Workers, settings: Settings, sql: Sql
) -> None:
    receiver, _ = receivers
    receiver.script(hangs())
    emit(settings, 1)
    workers.start(1)
    receiver.wait_for_requests(1)
    workers.running[1].process.terminate()
    Provider.wait_until(lambda: workers.running[1].exit_code() is not None)
    assert workers.running[1].exit_code() == 0
    assert sql.value(PENDING) == 1
