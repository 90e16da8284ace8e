"""Row values in errors of database drivers never reach a log."""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.core.exceptions import ConflictError
from app.database.connection import Database
from app.database.drivers import sync_engine
from app.observability.exception_text import format_exception, without_details
from app.observability.logging import configure_logging
from app.worker.periodic_job import Job
from tests.fixtures.database import Sql
from tests.support.waiting import eventually

CANARY = "canary7f3a@example.com"
FORMAT = str(Settings.model_fields["LOG_FORMAT"].default)
INSERT = f"INSERT INTO attempts_of_test VALUES ('{CANARY}')"  # noqa: S608 - a constant
STATEMENTS = {
    "unique": f"{INSERT}; {INSERT}",
    "check": "INSERT INTO attempts_of_test VALUES ('canary7f3a\nof two lines')",
    "invalid text": f"SELECT '{CANARY}'::uuid",
    "foreign key": "INSERT INTO attempts_of_test VALUES ('canary7f3a')",
    "raised": f"DO $$ BEGIN RAISE EXCEPTION 'refused' USING DETAIL = '{CANARY}'; END $$",
}


@pytest.fixture
def table(sql: Sql) -> Iterator[None]:
    sql.do("CREATE TABLE parents_of_test (email text PRIMARY KEY)")
    sql.do("INSERT INTO parents_of_test VALUES (%s)", [CANARY])
    sql.do(
        "CREATE TABLE attempts_of_test"
        " (email text PRIMARY KEY REFERENCES parents_of_test CHECK (email NOT LIKE '%%lines'));"
        "GRANT ALL ON attempts_of_test, parents_of_test TO PUBLIC"
    )
    yield
    sql.do("DROP TABLE attempts_of_test, parents_of_test")


class Lines(logging.Handler):
    """Formatted lines of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log() -> Iterator[Lines]:
    """The configured handler, with a list instead of standard error."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    configure_logging(service="test", level="DEBUG", json_lines=True, line_format=FORMAT)
    (configured,) = [handler for handler in root.handlers if handler.get_name() == "stderr"]
    lines = Lines()
    lines.setFormatter(configured.formatter)
    for log_filter in configured.filters:
        lines.addFilter(log_filter)
    root.handlers[:] = [lines]
    yield lines
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
async def test_job_that_fails_logs_no_row_values(pool: Database, table: None, log: Lines, statement: str) -> None:
    async def fail() -> int:
        # Not translated by the transaction: as errors in the middle of a job's work.
        async with pool.engine.begin() as connection:
            for part in [statement] if "$$" in statement else statement.split("; "):
                await connection.execute(text(part))
        return 0

    stopping = asyncio.Event()
    await run_once(Job("test", 60, fail), stopping)
    assert "canary7f3a" not in "".join(log.lines)
    (line,) = [json.loads(line) for line in log.lines if "job failed" in line]
    assert "SQLSTATE" in line["exc_info"]
    assert "test_exception_text.py" in line["exc_info"]


async def run_once(job: Job, stopping: asyncio.Event) -> None:
    run = asyncio.create_task(job.run(stopping))
    await eventually(lambda: job.stats.runs)
    stopping.set()
    await run


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
@pytest.mark.parametrize("use", ["asyncpg", "psycopg2", "sqlalchemy on psycopg2"])
async def test_text_of_exception_has_code_but_no_values(
    pool: Database, database_url: str, table: None, statement: str, use: str
) -> None:
    async def on_asyncpg() -> None:
        async with pool.driver_connection() as connection:
            await connection.execute(statement)

    async def on_psycopg2() -> None:
        connection = psycopg2.connect(database_url)
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()

    async def on_sqlalchemy() -> None:
        with sync_engine(database_url).begin() as connection:
            connection.execute(text(statement))

    uses: dict[str, Callable[[], Awaitable[None]]] = {
        "asyncpg": on_asyncpg,
        "psycopg2": on_psycopg2,
        "sqlalchemy on psycopg2": on_sqlalchemy,
    }
    try:
        await uses[use]()
    except Exception as error:  # noqa: BLE001 - of three drivers
        written = format_exception(error)
    assert "canary7f3a" not in written
    assert "SQLSTATE" in written


async def test_values_of_parameters_are_removed(pool: Database) -> None:
    value = CANARY.partition("@")[0]
    with pytest.raises(DBAPIError, match=value) as raised:
        async with pool.engine.begin() as connection:
            await connection.exec_driver_sql("SELECT $1::int", (value,))
    assert value not in format_exception(raised.value)


def test_causes_groups_and_cycles_are_formatted() -> None:
    group = ExceptionGroup("of two", [ValueError("a"), psycopg2.Error(f"DETAIL:  Key (email)=({CANARY})")])
    conflict = ConflictError()
    conflict.__cause__ = group
    group.__context__ = conflict
    written = format_exception(conflict)
    assert written.index("ExceptionGroup: of two") < written.index("direct cause") < written.index("ConflictError")
    assert "  | ValueError: a" in written
    assert CANARY not in written


def test_formatted_details_are_removed_from_messages(log: Lines) -> None:
    formatted = f"asyncpg.Error: duplicate key\nDETAIL:  Key (email)=({CANARY}\nx) exists.\nHINT:  none\n"
    logging.getLogger("uvicorn.error").error(formatted)
    logging.getLogger("app.test").error("failed: %s", formatted)
    written = "".join(log.lines)
    assert CANARY not in written
    assert written.count("HINT:  none") == 2
    assert without_details("no DETAIL here") == "no DETAIL here"


def test_uncaught_exception_is_printed_without_values(log: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    sys.excepthook(psycopg2.Error, psycopg2.Error(f"DETAIL:  Key (email)=({CANARY})"), None)
    assert capsys.readouterr().err == "psycopg2.Error: (message removed)\n"
