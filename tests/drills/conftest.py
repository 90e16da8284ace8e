"""Dedicated servers for fault tests under load, and a report of measurements."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from app import auth_main
from app.config import Settings
from app.database import migrations
from local.postgres import Postgres
from local.redis import Redis as RedisServer
from tests.drills import soak as soak_module
from tests.drills import storms as storms_module
from tests.drills import workload
from tests.drills.replicas import Lease, Replica
from tests.drills.storms import Ledger
from tests.fixtures.database import Sql
from tests.fixtures.processes import WorkerProcess
from tests.fixtures.servers import temporary_home
from tests.fixtures.services import User
from tests.support.provider import Provider

_report: list[str] = []

Report = Callable[..., None]


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Function that adds measurements to the summary of the test run."""

    def add(**figures: object) -> None:
        name = request.node.name.removeprefix("test_").replace("_", " ")
        _report.append(f"{name}: {', '.join(f'{label} {figure}' for label, figure in figures.items())}")

    return add


@dataclass
class Table:
    """Table of the results of all drills of one kind in the test run."""

    headings: list[str]
    rows: list[list[str]] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    def add(self, name: str, row: list[str], codes: Mapping[str, int]) -> None:
        """Add the cells of a drill, and the number of responses with each code."""
        self.rows.append([name, *row])
        if codes:
            self.codes.append(f"{name}: {', '.join(f'{count} x {code}' for code, count in sorted(codes.items()))}")

    def lines(self) -> list[str]:
        """Return the table as text."""
        rows = [self.headings, *self.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.headings))]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


class StormTable(Table):
    """Table of all storms of the test run."""

    def add_storm(self, name: str, ledger: Ledger) -> None:
        self.add(name, ledger.row(), ledger.codes)


_storms = StormTable(storms_module.HEADINGS)
_faults = Table(workload.HEADINGS)
_soak = Table(soak_module.HEADINGS)


@pytest.fixture
def storms() -> StormTable:
    """Table in the summary of the test run."""
    return _storms


@pytest.fixture
def faults() -> Table:
    """Table in the summary of the test run."""
    return _faults


@pytest.fixture
def soak() -> Table:
    """Table in the summary of the test run."""
    return _soak


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, table in (("storms", _storms), ("faults under load", _faults), ("soak", _soak)):
        if table.rows:
            terminalreporter.section(title)
            for line in (*table.lines(), "", *table.codes):
                terminalreporter.write_line(line)
    if _report:
        terminalreporter.section("drills")
        for line in _report:
            terminalreporter.write_line(line.replace("_", " "))


@pytest.fixture(scope="package")
def server_home() -> Iterator[Path]:
    with temporary_home() as home:
        yield home


@pytest.fixture(scope="package")
def postgres(server_home: Path) -> Iterator[Postgres]:
    server = Postgres(server_home, options={"fsync": "off"})
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="package")
def redis_server(server_home: Path, redis_url: str) -> Iterator[RedisServer]:
    server = RedisServer(server_home)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="package")
def settings(settings: Settings, postgres: Postgres, redis_server: RedisServer) -> Settings:
    migrations.upgrade(postgres.url())
    return settings.model_copy(update={"DATABASE_URL": postgres.url(), "REDIS_URL": redis_server.url})


@pytest.fixture
def sql(settings: Settings) -> Iterator[Sql]:
    """Connection to the database of the drills, which is not cleaned between tests."""
    connection = Sql(settings.DATABASE_URL)
    yield connection
    connection.close()


@pytest.fixture
def redis() -> None:
    """Overrides the fixture that empties Redis: it is not emptied between drills."""


@pytest.fixture(scope="package")
def auth_service(settings: Settings, cheap_passwords: None) -> Iterator[TestClient]:
    with TestClient(auth_main.create(settings)) as client:
        yield client


@pytest.fixture
def make_users(make_user: Callable[[str], User]) -> Callable[[int], list[User]]:
    """Function that creates the given number of users."""
    drill = uuid4().hex[:8]
    return lambda count: [make_user(f"{drill}-{number}") for number in range(count)]


@pytest.fixture(scope="package")
def running_replicas(settings: Settings, server_home: Path) -> Iterator[list[Replica]]:
    replicas = [Replica(settings, server_home, f"chat-{number}", Lease()) for number in range(2)]
    yield replicas
    for replica in replicas:
        replica.stop()
    assert [replica.errors() for replica in replicas] == [[], []]


@pytest.fixture
def replicas(running_replicas: list[Replica], provider: Provider) -> list[Replica]:
    """Two running chat services with short leases."""
    for replica in running_replicas:
        if not replica.is_running():
            replica.start()
    return running_replicas


@pytest.fixture
def worker(settings: Settings, server_home: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess(settings, server_home)
    process.wait_for("worker started")
    yield process
    process.stop()
