"""Imports as tasks of a process: progress, interruption, outages."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest

from app.chat.schemas.transfer import ImportResponse
from app.chat.transfer import import_task, imports, uploads
from app.chat.transfer.imports import ImportService
from app.core.exceptions import ConflictError, DatabaseUnavailableError, RequestTimeoutError, TooManyRequestsError
from app.database.connection import Database
from app.database.repositories.transfer import imports as stored_imports
from app.database.repositories.transfer import session_store
from app.services.limits.concurrency import ConcurrencyLimiter
from tests.chat.transfer.files import message, native, session
from tests.fixtures.database import Sql
from tests.support.waiting import eventually


@pytest.fixture
def service(pool: Database) -> ImportService:
    limiter = ConcurrencyLimiter(2, code="test", detail="", retry_after=1)
    return ImportService(pool, limiter, limiter)


async def chunks(content: object, size: int = 1000) -> AsyncIterator[bytes]:
    """Yield a file as a client sends it."""
    body = json.dumps(content).encode()
    for start in range(0, len(body), size):
        yield body[start : start + size]


FILE = native(*(session(message(1, None, content=f"text {number}")) for number in range(5)))


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], asyncio.Event]:
    """Function that makes imports wait before they store their n-th session, until the event that it returns is set."""

    def pause(number: int) -> asyncio.Event:
        go_on = asyncio.Event()
        insert = session_store.insert_imported
        count = 0

        async def insert_or_wait(*arguments: Any, **options: Any) -> bool:  # noqa: ANN401 - passed on
            nonlocal count
            count += 1
            if count == number:
                await go_on.wait()
            return await insert(*arguments, **options)

        monkeypatch.setattr(session_store, "insert_imported", insert_or_wait)
        monkeypatch.setattr(imports, "_QUICK_SECONDS", 0.05)
        monkeypatch.setattr(import_task, "_PROGRESS_INTERVAL", 0.0)
        return go_on

    return pause


async def finished(service: ImportService, user_id: int, import_id: UUID) -> ImportResponse:
    await eventually(lambda: not service.running_count)
    return await service.get(user_id, import_id)


async def test_a_long_import_is_followed_until_its_end(
    service: ImportService, user_id: int, paused: Callable[[int], asyncio.Event], sql: Sql
) -> None:
    go_on = paused(4)
    response = await service.import_file(user_id, chunks(FILE), "application/json")
    assert (response.status, response.report, response.sessions_total) == ("running", None, 5)
    await eventually(lambda: sql.value("SELECT done_count FROM chat_imports") == 3)
    assert (await service.get(user_id, response.import_id)).sessions_done == 3
    assert sql.value("SELECT count(*) FROM chat_sessions") == 3
    with pytest.raises(ConflictError) as conflict:
        await service.import_file(user_id, chunks(FILE), "application/json")
    assert conflict.value.extra == {"import_id": str(response.import_id)}
    go_on.set()
    response = await finished(service, user_id, response.import_id)
    assert (response.status, response.sessions_done) == ("complete", 5)
    assert response.report is not None
    assert response.report.imported_sessions == 5
    assert service.running_count == 0


async def test_an_interrupted_import_is_reported_and_continued(
    service: ImportService, user_id: int, paused: Callable[[int], asyncio.Event], sql: Sql
) -> None:
    go_on = paused(3)
    response = await service.import_file(user_id, chunks(FILE), "application/json")
    await eventually(lambda: sql.value("SELECT done_count FROM chat_imports") == 2)
    await service.drain(0)
    response = await service.get(user_id, response.import_id)
    assert (response.status, response.sessions_done) == ("interrupted", 2)
    assert response.report is not None
    assert response.report.imported_sessions == 2
    assert sql.value("SELECT count(*) FROM chat_sessions") == 2
    go_on.set()
    again = await service.import_file(user_id, chunks(FILE), "application/json")
    again = await finished(service, user_id, again.import_id)
    assert again.report is not None
    assert (again.report.imported_sessions, again.report.already_imported_sessions) == (3, 2)
    assert sql.value("SELECT count(*) FROM chat_sessions") == 5


async def test_an_import_goes_on_when_its_request_is_cancelled(
    service: ImportService,
    user_id: int,
    paused: Callable[[int], asyncio.Event],
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = paused(1)
    monkeypatch.setattr(imports, "_QUICK_SECONDS", 60.0)
    request = asyncio.create_task(service.import_file(user_id, chunks(FILE), "application/json"))
    await eventually(lambda: service.running_count)
    request.cancel()
    with suppress(asyncio.CancelledError):
        await request
    go_on.set()
    import_id = sql.value("SELECT uuid FROM chat_imports")
    assert (await finished(service, user_id, import_id)).sessions_done == 5


async def test_an_outage_is_waited_for(
    service: ImportService, user_id: int, monkeypatch: pytest.MonkeyPatch, sql: Sql
) -> None:
    insert = session_store.insert_imported
    failures = 2

    async def fail_twice(*arguments: Any, **options: Any) -> bool:  # noqa: ANN401 - passed on
        nonlocal failures
        failures -= 1
        result = await insert(*arguments, **options)
        if failures >= 0:
            raise DatabaseUnavailableError
        return result

    monkeypatch.setattr(session_store, "insert_imported", fail_twice)
    response = await service.import_file(user_id, chunks(FILE), "application/json")
    assert response.status == "complete"
    assert sql.value("SELECT count(*) FROM chat_sessions") == 5


async def test_an_import_fails_when_the_outage_lasts(
    service: ImportService, user_id: int, monkeypatch: pytest.MonkeyPatch, sql: Sql
) -> None:
    async def fail(*_arguments: Any, **_options: Any) -> bool:  # noqa: ANN401 - passed on
        raise DatabaseUnavailableError

    monkeypatch.setattr(session_store, "insert_imported", fail)
    monkeypatch.setattr(import_task, "_SESSION_TIMEOUT", 0.1)
    response = await service.import_file(user_id, chunks(FILE), "application/json")
    assert (response.status, response.sessions_done) == ("failed", 0)
    assert sql.value("SELECT count(*) FROM chat_sessions") == 0


async def test_an_error_in_one_session_leaves_it_out(
    service: ImportService, user_id: int, monkeypatch: pytest.MonkeyPatch, sql: Sql
) -> None:
    insert = session_store.insert_imported
    count = 0

    async def fail_once(*arguments: Any, **options: Any) -> bool:  # noqa: ANN401 - passed on
        nonlocal count
        count += 1
        result = await insert(*arguments, **options)
        if count == 2:
            raise RuntimeError
        return result

    monkeypatch.setattr(session_store, "insert_imported", fail_once)
    response = await service.import_file(user_id, chunks(FILE), "application/json")
    assert response.report is not None
    assert [(item.place, item.reason) for item in response.report.left_out] == [("sessions[1]", "internal_error")]
    assert sql.value("SELECT count(*) FROM chat_sessions") == 4


async def test_an_erased_account_ends_its_import(
    service: ImportService, user_id: int, paused: Callable[[int], asyncio.Event], sql: Sql
) -> None:
    go_on = paused(2)
    await service.import_file(user_id, chunks(FILE), "application/json")
    await eventually(lambda: sql.value("SELECT done_count FROM chat_imports") == 1)
    sql.do("DELETE FROM users")
    go_on.set()
    await eventually(lambda: not service.running_count)
    assert sql.value("SELECT count(*) FROM chat_sessions") == 0
    assert sql.value("SELECT count(*) FROM chat_imports") == 0


async def test_uploads_of_all_users_are_limited(pool: Database, user_id: int) -> None:
    limiter = ConcurrencyLimiter(1, code="too_many_imports", detail="", retry_after=1)
    service = ImportService(pool, ConcurrencyLimiter(9, code="test", detail="", retry_after=1), limiter)
    with limiter.slot("uploads"), pytest.raises(TooManyRequestsError):
        await service.import_file(user_id, chunks(FILE), "application/json")
    assert (await service.import_file(user_id, chunks(FILE), "application/json")).status == "complete"
    assert limiter.total == 0


async def test_an_upload_that_stops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_IDLE_TIMEOUT", 0.01)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.Event().wait()

    with pytest.raises(RequestTimeoutError):
        await uploads.receive_upload(stalled(), "application/json", io.BytesIO())


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_a_form_is_read_in_pieces(size: int) -> None:
    content = json.dumps(FILE).encode()
    body = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nother\r\n--b\r\n'
    body += b'Content-Disposition: form-data; name="file"; filename="x"\r\nContent-Type: a/b\r\n\r\n' + content
    body += b"\r\n--b--\r\n"

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    file = io.BytesIO()
    await uploads.receive_upload(pieces(), "multipart/form-data; boundary=b", file)
    assert file.getvalue() == content


async def test_expired_imports_are_interrupted_and_old_ones_deleted(pool: Database, user_id: int, sql: Sql) -> None:
    sql.do(
        "INSERT INTO chat_imports (uuid, user_id, format, status, session_count, lease_expires_at, created_at) VALUES"
        " (gen_random_uuid(), %(u)s, 'chatgpt', 'running', 1, now() - interval '1 s', now()),"
        " (gen_random_uuid(), %(u)s, 'chatgpt', 'complete', 1, NULL, now() - interval '31 days'),"
        " (gen_random_uuid(), %(u)s, 'chatgpt', 'complete', 1, NULL, now() - interval '29 days')",
        {"u": user_id},
    )
    async with pool.autocommit() as connection:
        assert await stored_imports.interrupt_expired(connection, limit=10) == 1
        assert await stored_imports.interrupt_expired(connection, limit=10) == 0
        assert await stored_imports.purge(connection, limit=10) == 1
    rows = sql.rows("SELECT status FROM chat_imports ORDER BY id")
    assert [row["status"] for row in rows] == ["interrupted", "complete"]
