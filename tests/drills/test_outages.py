"""Outages of PostgreSQL and Redis during event streams."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import psutil
import pytest
import redis

from app.config import Settings
from app.services.redis.keys import stream_key
from local.orphans import recorded_processes
from local.postgres import Postgres
from local.redis import Redis as RedisServer
from tests.drills import FULL_SIZE
from tests.drills.clients import Client, Reading, Refused
from tests.drills.conftest import Report
from tests.drills.replicas import Lease, Replica
from tests.fixtures.database import Sql
from tests.fixtures.processes import WorkerProcess
from tests.fixtures.services import User
from tests.support.provider import DONE, Call, Provider, Wire, answers, chunk
from tests.support.waiting import eventually

STREAMS = 20
BUDGET = 0.3 if FULL_SIZE else 3.0
"""Seconds that an unavailable Redis may delay a stream once."""
SCHEDULING = 0.3
"""Seconds that a busy machine may add to any gap."""
TEXT = " ".join(f"word{number}" for number in range(800))
STORED = "SELECT content, status FROM chat_messages WHERE role = 'assistant' AND uuid = %s"


@pytest.fixture
def replica_with_short_timeout(settings: Settings, server_home: Path, provider: Provider) -> Iterator[Replica]:
    """A chat service that waits for Redis only shortly: at full size, as long as in production."""
    replica = Replica(settings.model_copy(update={"REDIS_TIMEOUT": BUDGET}), server_home, "chat-short-timeout")
    replica.start()
    yield replica
    replica.stop()
    assert replica.errors() == []


@pytest.mark.parametrize("fault", ["killed", "suspended", "emptied"])
async def test_redis_outage_during_streams_does_not_delay_them(
    replica_with_short_timeout: Replica,
    redis_server: RedisServer,
    server_home: Path,
    make_users: Callable[[int], list[User]],
    provider: Provider,
    sql: Sql,
    report: Report,
    fault: str,
) -> None:
    gate = threading.Event()
    provider.always(answers(TEXT, every=0.04, end=gate))
    url = replica_with_short_timeout.url
    async with Client.of(*make_users(STREAMS)) as clients:
        readings = [Reading(await client.open(url)) for client in clients]
        tasks = [
            asyncio.create_task(client.ask(url, reading.session, reading=reading))
            for client, reading in zip(clients, readings, strict=True)
        ]
        await eventually(lambda: all(len(reading.gaps) > 10 for reading in readings))
        process = psutil.Process(recorded_processes(server_home)["redis"].pid)
        lengths = [len(reading.text) for reading in readings]
        failed_at = time.monotonic()
        match fault:
            case "killed":
                process.kill()
            case "suspended":
                process.suspend()
            case _:
                with redis.Redis.from_url(redis_server.url) as client:
                    client.flushall()
        await asyncio.sleep(1)
        await eventually(
            lambda: all(len(reading.text) > length for reading, length in zip(readings, lengths, strict=True))
        )
        match fault:
            case "killed":
                await asyncio.to_thread(redis_server.stop)
                await asyncio.to_thread(redis_server.start)
            case "suspended":
                process.resume()
        # All streams are in Redis again, including text from before and during the outage.
        with redis.Redis.from_url(redis_server.url) as client:
            keys = [stream_key(UUID(reading.message)) for reading in readings]
            await eventually(lambda: client.exists(*keys) == STREAMS)
        gate.set()
        await asyncio.gather(*tasks)
    for reading in readings:
        assert (reading.status, reading.text) == ("complete", TEXT)
        assert sql.rows(STORED, [reading.message]) == [{"content": TEXT, "status": "complete"}]
    before = [gap for reading in readings for at, gap in reading.gaps[2:] if at < failed_at]
    after = [gap for reading in readings for at, gap in reading.gaps if at >= failed_at]
    assert max(after) < max(before) + BUDGET + SCHEDULING or not FULL_SIZE
    report(streams=STREAMS, longest_gap_before=f"{max(before):.2f} s", longest_gap_after=f"{max(after):.2f} s")


@pytest.fixture
def lease() -> Lease:
    return Lease(30, 20) if FULL_SIZE else Lease(6, 5)


@pytest.fixture
def two_replicas(settings: Settings, server_home: Path, provider: Provider, lease: Lease) -> Iterator[list[Replica]]:
    replicas = [Replica(settings, server_home, f"chat-outage-{number}", lease) for number in range(2)]
    for replica in replicas:
        replica.start()
    yield replicas
    for replica in replicas:
        replica.stop()
    assert [replica.errors() for replica in replicas] == [[], []]


async def poll_and_ask(
    client: Client, url: str, session: str, outcomes: Counter[str], is_back: Callable[[], bool]
) -> None:
    """Poll the answer and ask again until PostgreSQL is back; count statuses and error codes."""
    while not is_back():
        try:
            outcomes[(await client.messages(url, session))[1]["status"]] += 1
            await client.request(url, "POST", f"/sessions/{session}/messages", json={"message": "Well?"})
            outcomes["answered"] += 1
        except Refused as refused:
            outcomes[refused.problem["code"]] += 1
        await asyncio.sleep(0.03)


@pytest.mark.parametrize("seconds", [10, 40] if FULL_SIZE else [8])
async def test_postgresql_outage_during_streams_interrupts_no_running_turn(
    two_replicas: list[Replica],
    worker: WorkerProcess,
    postgres: Postgres,
    make_users: Callable[[int], list[User]],
    provider: Provider,
    report: Report,
    seconds: float,
) -> None:
    release = asyncio.Event()

    async def stream_until_released(call: Call, wire: Wire) -> None:
        await wire.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        while not release.is_set():
            await wire.chunk(chunk("word "))
            await asyncio.sleep(0.1)
        for last in (chunk("end."), chunk(finish_reason="stop"), DONE, b""):
            await wire.chunk(last)

    provider.always(stream_until_released)
    first_url, second_url = (replica.url for replica in two_replicas)
    outcomes: Counter[str] = Counter()
    back = asyncio.Event()
    async with Client.of(*make_users(STREAMS)) as clients:
        readings = [Reading(await client.open(first_url)) for client in clients]
        pairs = list(zip(clients, readings, strict=True))
        answered = [
            asyncio.create_task(client.ask(first_url, reading.session, reading=reading)) for client, reading in pairs
        ]
        await eventually(lambda: all(reading.text for reading in readings))
        await asyncio.to_thread(postgres.stop)
        await asyncio.sleep(seconds - 1)
        polling = [
            asyncio.create_task(poll_and_ask(client, second_url, reading.session, outcomes, back.is_set))
            for client, reading in pairs[:4]
        ]
        await asyncio.sleep(1)
        await eventually(lambda: "database_unavailable" in outcomes)
        await asyncio.to_thread(postgres.start)
        await asyncio.sleep(4)  # a turn that looks interrupted would be stored as such
        await eventually(lambda: {"pending", "turn_active"} <= set(outcomes))
        back.set()
        await asyncio.gather(*polling)
        release.set()
        await asyncio.gather(*answered)
    with closing(Sql(postgres.url())) as sql:
        for reading in readings:
            assert (reading.status, reading.text[-9:]) == ("complete", "word end.")
            assert sql.rows(STORED, [reading.message]) == [{"content": reading.text, "status": "complete"}]
    assert set(outcomes) == {"pending", "turn_active", "database_unavailable"}
    assert len(provider.calls) == STREAMS
    report(streams=STREAMS, outage=f"{seconds} s", lost=0, interrupted=0, outcomes_during_outage=dict(outcomes))
