"""CSV files of reports: format, formula injection, memory and database connections."""

import csv
import io
import tracemalloc
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from app.admin.analytics import usage_reports
from app.admin.analytics.time_ranges import TimeRange
from app.admin.csv_export import iterate_rows, write_csv
from app.admin.schemas.analytics import ErrorRow, UserRow
from app.database.connection import Database
from tests.admin.conftest import ReportClient
from tests.fixtures.database import Sql

NOVEMBER = TimeRange(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC), ZoneInfo("UTC"))


def error_row(model: str, calls: int = 1) -> ErrorRow:
    return ErrorRow(model=model, error_code="provider_timeout", calls=calls, share=0.5, provider=None)


async def write_rows(*rows: ErrorRow) -> bytes:
    file = await write_csv(ErrorRow, iterate_rows(rows))
    content = b"".join([chunk async for chunk in file.chunks])
    assert len(content) == file.size
    return content


async def test_a_file_conforms_to_rfc_4180() -> None:
    content = await write_rows(error_row('a "b", c'), error_row("d\r\ne"), error_row("größer"))
    assert content == (
        b"model,error_code,calls,share,provider\r\n"
        b'"a ""b"", c",provider_timeout,1,0.5,\r\n'
        b'"d\r\ne",provider_timeout,1,0.5,\r\n'
        b"gr\xc3\xb6\xc3\x9fer,provider_timeout,1,0.5,\r\n"
    )


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A1"])
async def test_cells_that_start_like_a_formula_are_escaped(text: str) -> None:
    (_, row) = csv.reader(io.StringIO((await write_rows(error_row(text))).decode(), newline=""))
    assert row[0] == f"'{text}"


async def test_other_cells_are_not_changed() -> None:
    (_, row) = csv.reader(io.StringIO((await write_rows(error_row("a=b-c@d"))).decode()))
    assert row == ["a=b-c@d", "provider_timeout", "1", "0.5", ""]


async def test_a_long_file_uses_little_memory() -> None:
    async def rows() -> AsyncGenerator[ErrorRow]:
        for number in range(40_000):
            yield error_row(f"a model with a rather long name, of which there are many: {number}")

    tracemalloc.start()
    try:
        file = await write_csv(ErrorRow, rows())
        sizes = [len(chunk) async for chunk in file.chunks]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(sizes) == file.size > 3_000_000
    assert max(sizes) <= 65_536
    assert peak < 1_500_000


async def test_a_read_error_leaves_no_file() -> None:
    is_closed = False

    async def rows() -> AsyncGenerator[ErrorRow]:
        nonlocal is_closed
        try:
            for number in range(40_000):
                yield error_row(f"a model with a rather long name, of which there are many: {number}")
            raise ZeroDivisionError
        finally:
            is_closed = True

    with pytest.raises(ZeroDivisionError):
        await write_csv(ErrorRow, rows())
    assert is_closed


def test_the_response_has_file_name_type_and_length(report_client: ReportClient) -> None:
    response = report_client.get("/reports/users.csv", **{"from": "2026-10-31T23:00:00Z", "to": "2026-11-30T23:00:00Z"})
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert response.headers["Content-Disposition"] == 'attachment; filename="users_2026-11-01_2026-12-01.csv"'
    assert int(response.headers["Content-Length"]) == len(response.content)
    assert response.headers["Cache-Control"] == "no-store"


@pytest.fixture
def many_accounts(sql: Sql) -> int:
    """3000 accounts with usage, and usage of an erased account."""
    sql.do(
        "INSERT INTO users (uuid, email, username, password_hash)"
        " SELECT gen_random_uuid(), n || '@example.com', 'user' || n, '' FROM generate_series(1, 3000) AS n"
    )
    sql.do(
        "INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, status, latency_ms, cost_usd, created_at)"
        " SELECT gen_random_uuid(), 1, id, 'm', 'ok', 1, 0.001 * (id %% 100), timestamptz '2026-11-20' FROM users"
        " UNION ALL SELECT gen_random_uuid(), 1, NULL, 'm', 'ok', 1, 5, '2026-11-20'"
    )
    return 3000


async def test_no_connection_is_held_during_the_download(pool: Database, many_accounts: int) -> None:
    file = await write_csv(UserRow, usage_reports.stream_user_rows(pool, "cost", NOVEMBER))
    first = await anext(file.chunks)
    assert pool.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # of the pool that engines have
    rest = [chunk async for chunk in file.chunks]
    assert rest  # the download was not complete
    rows = list(csv.DictReader(io.StringIO(b"".join([first, *rest]).decode(), newline="")))
    assert len(rows) == many_accounts + 1
    costs = [Decimal(row["cost_usd"]) for row in rows]
    assert costs[:-1] == sorted(costs[:-1], reverse=True)
    assert (rows[-1]["user_id"], costs[-1]) == ("", Decimal(5))
    assert sum(costs) == Decimal("0.001") * 30 * sum(range(100)) + 5


async def test_an_aborted_user_report_releases_its_connection(pool: Database, many_accounts: int) -> None:
    rows = usage_reports.stream_user_rows(pool, "cost", NOVEMBER)
    await anext(rows)
    assert pool.engine.pool.checkedout() == 1  # type: ignore[attr-defined] # as above
    await rows.aclose()
    assert pool.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # as above
