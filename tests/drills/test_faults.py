"""Each part of a system killed, stopped and restarted, while accounts use all of it through the gateway.

The clients keep a ledger of what was acknowledged, which is compared with the database afterwards. The summary of the
test run has one table for all faults.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
import redis as redis_client

from app.config import Settings
from local.postgres import Postgres
from local.redis import Redis as RedisServer
from tests.drills import FULL_SIZE
from tests.drills.cluster import LEASE, Cluster, for_seconds
from tests.drills.conftest import Table
from tests.drills.workload import FaultLedger, Workload, repeat_the_question
from tests.fixtures.database import Sql
from tests.fixtures.processes import kill, process
from tests.fixtures.services import User
from tests.support.provider import Provider, fails

USERS = 8
BEFORE = 3.0
AFTER = 5.0
"""Seconds of load before and after a fault."""
OUTAGE = 10.0
SETTLED_SECONDS = LEASE.seconds + 5
PENDING = "SELECT count(*) FROM chat_messages WHERE status = 'pending'"

pytestmark = pytest.mark.skipif(not FULL_SIZE, reason="takes minutes, see `make drills`")


@pytest.fixture(scope="module")
def cluster(settings: Settings, server_home: Path) -> Iterator[Cluster]:
    # A longer shutdown than any answer takes, and outages that are noticed as in production.
    changed = {"SHUTDOWN_GRACE": 15.0, "LLM_BREAKER_FAILURES": 5, "LLM_BREAKER_PAUSE": 1}
    cluster = Cluster(settings.model_copy(update=changed), server_home)
    with cluster.running():
        yield cluster


Drill = Callable[[str, Callable[[], Awaitable[object]]], Awaitable[FaultLedger]]


@pytest.fixture
def drill(
    settings: Settings,
    cluster: Cluster,
    make_users: Callable[[int], list[User]],
    provider: Provider,
    sql: Sql,
    faults: Table,
) -> Drill:
    """Function that causes a fault under load, and checks what holds after every fault."""

    async def run(name: str, fault: Callable[[], Awaitable[object]]) -> FaultLedger:
        provider.always(repeat_the_question)
        users = make_users(USERS)
        sql.do("UPDATE users SET role = 'admin' WHERE uuid = %s", [users[0].id])
        timeout = aiohttp.ClientTimeout(total=120)
        # A connection is not used again, because the gateway may be closing it.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            load = Workload(http, cluster.gateway.url, users)
            load.start()
            await asyncio.sleep(BEFORE)
            await fault()
            await asyncio.sleep(AFTER)
            await load.stop()
        deadline = time.monotonic() + SETTLED_SECONDS
        # A new connection, because the fault may have ended that of the test.
        with closing(Sql(settings.DATABASE_URL)) as connection:
            while connection.value(PENDING) and time.monotonic() < deadline:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.1)
            load.audit(connection)
        ledger = load.ledger
        faults.add(name, ledger.row(), ledger.repeated)
        assert ledger.verdict() == dict.fromkeys(ledger.verdict(), 0), ledger.unhandled
        assert ledger.statuses["complete"] >= USERS
        return ledger

    return run


async def test_rolling_restart_of_everything_fails_no_request(drill: Drill, cluster: Cluster) -> None:
    ledger = await drill("rolling restart of everything", cluster.restart_one_by_one)
    assert not ledger.failed
    assert set(ledger.statuses) <= {"complete", "interrupted"}


async def test_one_of_three_chat_services_killed(drill: Drill, cluster: Cluster) -> None:
    replica = cluster.chat[0]
    ledger = await drill("one of three chat services killed", lambda: for_seconds(OUTAGE, replica.kill, replica.start))
    # Only requests that the killed process was working on.
    assert set(ledger.failed) <= {"bad_gateway"}
    assert ledger.failed.total() <= 3 * USERS


@pytest.mark.parametrize("service", ["auth", "chat", "admin", "worker"])
@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_all_processes_of_a_service_ended_and_started(
    drill: Drill, cluster: Cluster, service: str, how: str
) -> None:
    parts = cluster.service(service)

    def end() -> None:
        for part in parts:
            part.kill() if how == "killed" else part.stop()

    def start() -> None:
        for part in parts:
            part.start()

    ledger = await drill(f"{service} {how}", lambda: for_seconds(OUTAGE, end, start))
    # A process of the chat service that is stopped refuses questions before its port is closed.
    expected = {"worker": set(), "chat": {"bad_gateway", "shutting_down"}}
    assert set(ledger.failed) <= expected.get(service, {"bad_gateway"})


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_postgresql(drill: Drill, postgres: Postgres, server_home: Path, how: str) -> None:
    end = postgres.stop if how == "stopped" else lambda: kill(postgres, server_home)
    ledger = await drill(f"PostgreSQL {how}, {OUTAGE:.0f} s", lambda: for_seconds(OUTAGE, end, postgres.start))
    assert set(ledger.failed) <= {"database_unavailable"}


@pytest.mark.parametrize("how", ["killed", "frozen", "emptied"])
async def test_redis(drill: Drill, redis_server: RedisServer, server_home: Path, how: str) -> None:
    def begin() -> None:
        match how:
            case "killed":
                kill(redis_server, server_home)
            case "frozen":
                process(redis_server, server_home).suspend()
            case _:
                with redis_client.Redis.from_url(redis_server.url) as client:
                    client.flushall()

    def end() -> None:
        match how:
            case "killed":
                redis_server.start()
            case "frozen":
                process(redis_server, server_home).resume()

    ledger = await drill(f"Redis {how}", lambda: for_seconds(OUTAGE, begin, end))
    assert ledger.failed == {}
    assert set(ledger.statuses) == {"complete"}


@pytest.mark.parametrize("how", ["refuses connections", "answers with 500"])
async def test_model(drill: Drill, provider: Provider, how: str) -> None:
    async def fault() -> None:
        if how == "refuses connections":
            with provider.refusing_connections():
                await asyncio.sleep(OUTAGE)
        else:
            provider.always(fails(500))
            await asyncio.sleep(OUTAGE)
            provider.always(repeat_the_question)

    ledger = await drill(f"model {how}", fault)
    assert ledger.failed == {}
    assert ledger.statuses["failed"] > 0
