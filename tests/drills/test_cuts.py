"""Interrupted connections and clients that disconnect."""

import asyncio
import random
import time
from collections.abc import Callable

from tests.drills.clients import Client, Reading
from tests.drills.conftest import Report
from tests.drills.replicas import Replica
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.support.provider import Provider, answers
from tests.support.waiting import LONGEST_WAIT, closed_gate, wait_until

TEXT = " ".join(f"word{number}" for number in range(60)) + " 🌍 Grüße"
STORED = "SELECT content, status FROM chat_messages WHERE role = 'assistant' AND uuid = %s"
PENDING = "SELECT count(*) FROM chat_messages WHERE status = 'pending'"
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chat-service'"


async def test_streams_interrupted_200_times_and_resumed_on_other_replicas_are_complete(
    replicas: list[Replica], make_users: Callable[[int], list[User]], provider: Provider, sql: Sql, report: Report
) -> None:
    provider.always(answers(TEXT, every=0.02))
    rng = random.Random(4)  # noqa: S311 - not a secret

    async def read(client: Client) -> Reading:
        first, second = sorted(rng.sample(range(len(TEXT)), 2))
        first_url, second_url = rng.sample([replica.url for replica in replicas], 2)
        reading = await client.ask(first_url, await client.open(first_url), until=first)
        await client.resume(second_url, reading, until=second)
        if reading.end is None:
            await client.resume(rng.choice([first_url, second_url]), reading)
        return reading

    readings: list[Reading] = []
    async with Client.of(*make_users(5)) as clients:
        # On a slow machine, the last event may be too long for a second interruption before the end.
        while sum(reading.cuts for reading in readings) < 200:
            readings += await asyncio.gather(*(read(client) for client in clients * 5))
    for reading in readings:
        assert reading.text == TEXT
        assert sql.rows(STORED, [reading.message]) == [{"content": TEXT, "status": "complete"}]
    assert sum(reading.snapshots for reading in readings) == 0
    assert len(provider.calls) == len(readings)
    report(turns=len(readings), cuts=sum(reading.cuts for reading in readings), missing=0, twice=0)


async def test_100_disconnected_clients_leave_100_stored_answers_and_no_resources(
    replicas: list[Replica], make_users: Callable[[int], list[User]], provider: Provider, sql: Sql, report: Report
) -> None:
    service = replicas[0]
    process = service.process

    async def disconnect(client: Client) -> str:
        reading = await client.ask(service.url, await client.open(service.url), until=20)
        assert reading.cuts == 1
        return reading.message

    async def disconnect_all(clients: list[Client]) -> dict[str, float]:
        """Let 100 clients disconnect; return the resources that the process holds after all turns have ended."""
        with closed_gate() as gate:
            # No answer ends before all clients have disconnected: both times the provider has 100 connections.
            provider.always(answers(TEXT, every=0.02, end=gate))
            messages = await asyncio.gather(*(disconnect(client) for client in clients * 20))
        await asyncio.to_thread(wait_until, lambda: sql.value(PENDING) == 0)
        for message in messages:
            assert sql.rows(STORED, [message]) == [{"content": TEXT, "status": "complete"}]
        await asyncio.sleep(1)
        return await asyncio.to_thread(resources)

    def resources() -> dict[str, float]:
        return {
            "connections": sql.value(CONNECTIONS),
            "in_transaction": sql.value(CONNECTIONS + " AND state LIKE 'idle in%%'"),
            "descriptors": process.num_fds(),
            "tasks": service.tasks(),
            "megabytes": process.memory_info().rss / 1e6,
        }

    def excess(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
        """Return the resources that have grown."""
        allowed = {
            "connections": before["connections"],
            "in_transaction": 0,
            "descriptors": before["descriptors"] + 3,
            "tasks": before["tasks"],
            "megabytes": before["megabytes"] + 10,
        }
        return {name: value for name, value in after.items() if value > allowed[name]}

    async with Client.of(*make_users(5)) as clients:
        before = await disconnect_all(clients)  # fills pools and caches
        after = await disconnect_all(clients)
    # A busy machine may take longer than a second to release them; what leaks is never released.
    deadline = time.monotonic() + LONGEST_WAIT
    while excess(before, after) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        after = await asyncio.to_thread(resources)
    assert excess(before, after) == {}
    report(**{name: f"{before[name]:.0f} -> {after[name]:.0f}" for name in before})
