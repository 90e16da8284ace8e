"""Interrupted connections and clients that disconnect."""

import asyncio
import random
from collections.abc import Callable

from tests.drills.clients import Client, Reading
from tests.drills.conftest import Report
from tests.drills.replicas import Replica
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.support.provider import Provider, answers

TEXT = " ".join(f"word{number}" for number in range(60)) + " 🌍 Grüße"
STORED = "SELECT content, status FROM chat_messages WHERE role = 'assistant' AND uuid = %s"
PENDING = "SELECT count(*) FROM chat_messages WHERE status = 'pending'"
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chat-service'"


async def test_streams_interrupted_200_times_and_resumed_on_other_replicas_are_complete(
    replicas: list[Replica], people: Callable[[int], list[User]], provider: Provider, sql: Sql, report: Report
) -> None:
    provider.always(answers(TEXT, every=0.02))
    chance = random.Random(4)  # noqa: S311 - not a secret

    async def read(client: Client) -> Reading:
        first, second = sorted(chance.sample(range(len(TEXT)), 2))
        asked, other = chance.sample([replica.url for replica in replicas], 2)
        reading = await client.ask(asked, await client.open(asked), until=first)
        await client.resume(other, reading, until=second)
        if reading.end is None:
            await client.resume(chance.choice([asked, other]), reading)
        return reading

    readings: list[Reading] = []
    async with Client.of(*people(5)) as clients:
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
    replicas: list[Replica], people: Callable[[int], list[User]], provider: Provider, sql: Sql, report: Report
) -> None:
    provider.always(answers(TEXT, every=0.02))
    service = replicas[0]
    process = service.process

    async def disconnect(client: Client) -> str:
        reading = await client.ask(service.url, await client.open(service.url), until=20)
        assert reading.cuts == 1
        return reading.message

    async def disconnect_all(clients: list[Client]) -> dict[str, float]:
        """Let 100 clients disconnect; return the resources that the process holds after all turns have ended."""
        messages = await asyncio.gather(*(disconnect(client) for client in clients * 20))
        await asyncio.to_thread(Provider.wait_until, lambda: sql.value(PENDING) == 0)
        for message in messages:
            assert sql.rows(STORED, [message]) == [{"content": TEXT, "status": "complete"}]
        await asyncio.sleep(1)
        return {
            "connections": sql.value(CONNECTIONS),
            "in_transaction": sql.value(CONNECTIONS + " AND state LIKE 'idle in%%'"),
            "descriptors": process.num_fds(),
            "tasks": await asyncio.to_thread(service.tasks),
            "megabytes": process.memory_info().rss / 1e6,
        }

    def grew(before: dict[str, float], after: dict[str, float]) -> bool:
        allowed = {"connections": 0, "descriptors": 3, "tasks": 0, "megabytes": 10}
        return any(after[name] > before[name] + more for name, more in allowed.items())

    async with Client.of(*people(5)) as clients:
        # On a slow machine, pools and caches reach their size in a later pass. What a turn leaves grows in every pass.
        before, after = await disconnect_all(clients), await disconnect_all(clients)
        for _ in range(3):
            if not grew(before, after):
                break
            before, after = after, await disconnect_all(clients)
    assert not grew(before, after), (before, after)
    assert after["in_transaction"] == 0
    report(**{name: f"{before[name]:.0f} -> {after[name]:.0f}" for name in before})
