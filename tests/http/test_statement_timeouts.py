"""Statements that PostgreSQL cancels because they take too long: the database is not reported as unavailable."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError, StatementTimeoutError
from app.database.connection import Database
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, Chat, User, assert_problem, login, register
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx2 import Response


@pytest.mark.parametrize("method", ["driver_connection", "autocommit", "read_only", "transaction"])
async def test_cancelled_statement_is_not_an_outage(settings: Settings, method: str) -> None:
    database = Database.from_settings(settings, application_name="slow")
    await database.ping()

    async def sleep() -> None:
        async with getattr(database, method)() as connection:
            for statement in ("SET statement_timeout = '50ms'", "SELECT pg_sleep(60)"):
                await connection.execute(statement if method == "driver_connection" else text(statement))

    with pytest.raises(DatabaseUnavailableError) as raised:
        await sleep()
    assert type(raised.value) is StatementTimeoutError
    assert database.seconds_since_recovery() > 0
    await database.close()


def test_each_service_names_a_cancelled_statement(
    chat: Chat, auth_client: TestClient, admin_client: TestClient, admin: User, sql: Sql, settings: Settings
) -> None:
    session = chat.open()
    service = Sql(settings.DATABASE_URL)  # a role may cancel statements of its own
    requests: list[Callable[[], Response]] = [
        lambda: chat.request("GET", "/sessions"),
        lambda: chat.request("GET", "/search", params={"q": "word"}),
        lambda: chat.request("POST", f"/sessions/{session}/messages", json={"message": "Hi"}),
        lambda: auth_client.get(f"{AUTH}/me", headers=admin.headers),
        lambda: login(auth_client, "ada"),
        lambda: register(auth_client, "eve"),
        lambda: admin_client.get("/api/v1/admin/sessions", headers=admin.headers),
    ]
    for request in requests:
        sql.do("BEGIN; LOCK TABLE users")
        try:
            with ThreadPoolExecutor(1) as pool:
                pending = pool.submit(request)
                sql.wait_for_blocked()
                service.do("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                response = pending.result()
        finally:
            sql.do("ROLLBACK")
        assert_problem(response, 503, "database_timeout")
        assert int(response.headers["Retry-After"]) > 0
    service.close()
    for client in (chat.client, auth_client, admin_client):
        assert client.get("/readyz").status_code == 200


async def test_statement_that_nobody_waits_for_ends(pool: Database, sql: Sql) -> None:
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(4%%' AND state = 'active'"
    with pytest.raises(DatabaseUnavailableError):
        async with pool.autocommit(max_seconds=0.2) as connection:
            await connection.execute(text("SELECT pg_sleep(4.5)"))
    started = time.monotonic()
    await eventually(lambda: sql.value(running) == 0)
    assert time.monotonic() - started < 3
