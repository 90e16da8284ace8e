"""Mixed load for minutes: memory, descriptors, tasks and connections of all processes stay flat (`make soak`)."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from fastapi.testclient import TestClient

from app import auth_main
from app.config import Settings
from local.orphans import recorded_processes
from tests.drills.cluster import Cluster
from tests.drills.conftest import Table
from tests.drills.soak import Recorder, Series
from tests.drills.workload import Workload, repeat_the_question
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.support.provider import Provider

MINUTES = float(os.environ.get("SOAK_MINUTES", "0"))
USERS = 6
SAMPLES = 120
CONNECTIONS = "SELECT application_name, count(*)::float FROM pg_stat_activity WHERE application_name <> '' GROUP BY 1"


def test_growth_is_told_from_fluctuation() -> None:
    flat, growing = Series("chat", "descriptors"), Series("chat", "descriptors")
    for second in range(300):
        flat.samples.append((second, 100 + second % 7))
        growing.samples.append((second, 100 + second / 10))
    assert flat.is_flat
    assert not growing.is_flat
    assert growing.slope == pytest.approx(360)
    assert abs(flat.slope) < 20


def memory(process: psutil.Process) -> int:
    """Return the memory of a process in bytes, without shared memory: PostgreSQL and Nginx set its size at start."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.NoSuchProcess:  # a child that has ended since
        return 0


def resources(cluster: Cluster, sql: Sql, home: Path) -> dict[str, dict[str, float]]:
    """Return the resources of all processes by name.

    Of PostgreSQL and Nginx, the largest process is measured. Each connection of PostgreSQL has its own process, whose
    caches fill with the first use of each statement, so the sum grows for a long time.
    """
    values: dict[str, dict[str, float]] = {}
    for name, record in recorded_processes(home).items():
        process = psutil.Process(record.pid)
        family = [process, *process.children(recursive=True)]
        if len(family) > 1:
            values[name] = {"megabytes, largest": max(map(memory, family)) / 1e6}
        else:
            values[name] = {
                "megabytes": memory(process) / 1e6,
                "descriptors": process.num_fds(),
                "threads": process.num_threads(),
            }
    for replica in cluster.chat:
        values[replica.name]["tasks"] = replica.tasks()
    for row in sql.rows(CONNECTIONS):
        values[f"PostgreSQL, {row['application_name']}"] = {"connections": row["count"]}
    return values


@pytest.fixture(scope="module")
def auth_service(settings: Settings, cheap_passwords: None) -> Iterator[TestClient]:
    # The clients do not replace their access tokens.
    update = {"ACCESS_TOKEN_EXPIRE_MINUTES": max(30, int(MINUTES * 2))}
    with TestClient(auth_main.create(settings.model_copy(update=update))) as client:
        yield client


@pytest.mark.skipif(not MINUTES, reason="takes minutes, see `make soak`")
async def test_resources_stay_flat(
    settings: Settings,
    server_home: Path,
    make_users: Callable[[int], list[User]],
    provider: Provider,
    sql: Sql,
    soak: Table,
    faults: Table,
) -> None:
    provider.always(repeat_the_question)
    users = make_users(USERS)
    sql.do("UPDATE users SET role = 'admin' WHERE uuid = %s", [users[0].id])
    cluster = Cluster(settings, server_home)
    with cluster.running():
        recorder = Recorder(lambda: resources(cluster, sql, server_home))
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(total=120)
        ) as http:
            load = Workload(http, cluster.gateway.url, users)
            load.start()
            end = time.monotonic() + MINUTES * 60
            while time.monotonic() < end:
                await asyncio.sleep(MINUTES * 60 / SAMPLES)
                await asyncio.to_thread(recorder.sample)
                load.check()
                provider.forget_finished_calls()
            await load.stop()
        load.audit(sql)
    for series in recorder.series:
        soak.add(series.row()[0], series.row()[1:], {})
    faults.add(f"none, {MINUTES:.0f} minutes", load.ledger.row(), load.ledger.repeated)
    assert load.ledger.verdict() == dict.fromkeys(load.ledger.verdict(), 0), load.ledger.unhandled
    assert [f"{series.process}: {series.resource}" for series in recorder.series if not series.is_flat] == []
