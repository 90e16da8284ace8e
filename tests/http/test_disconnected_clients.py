"""Responses whose clients disconnect end without an error in the log: downloads and event streams of all services."""

import logging
import random
import socket
import struct
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from redis import Redis

from app import admin_main, auth_main, main
from app.admin.analytics import usage_reports
from app.admin.schemas.analytics import UserRow
from app.config import Settings
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, AUTH, CHAT, User
from tests.fixtures.streaming import ChatServer, serving
from tests.support.provider import Provider, answers
from tests.support.waiting import wait_until

POSITIONS = [0, 0, 1, 300, 100_000, 1_000_000]
"""Numbers of bytes after which clients disconnect. 0: before the headers."""
ROWS = 10_000


class ErrorLog(logging.Handler):
    """Collects the errors that the services, the server and the event loop log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(logging.Formatter().format(record))


@contextmanager
def running(app: FastAPI) -> Iterator[tuple[str, list[str]]]:
    """Serve an application; yield its URL and the errors that are logged until it has stopped."""
    log = ErrorLog()
    with ExitStack() as stack:
        loggers = [logging.getLogger(name) for name in ("app", "uvicorn.error", "asyncio")]
        for logger in loggers:
            stack.callback(logger.removeHandler, log)
            stack.callback(logger.setLevel, logger.level)
        url = stack.enter_context(serving(app))
        for logger in loggers:
            # The server has set its own handlers and levels when it started.
            logger.addHandler(log)
            logger.setLevel(logging.ERROR)
        yield url, log.errors


def disconnect(url: str, request: str, user: User, position: int, body: str = "") -> None:
    """Send a request, read so many bytes of the response, and reset the connection."""
    address = urlsplit(url)
    head = [f"{request} HTTP/1.1", "Host: test", f"Authorization: Bearer {user.access_token}"]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # the server has to wait for the client
        connection.connect((address.hostname, address.port))
        connection.sendall("\r\n".join([*head, "", body]).encode())
        received = b""
        while len(received) < position and (data := connection.recv(min(65_536, position - len(received)))):
            received += data
        if received:
            assert received.startswith(b"HTTP/1.1 200 ") or len(received) < 13, received[:500]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def wait_for_requests(url: str) -> None:
    """Wait until the service has no request in progress."""

    def in_progress() -> float:
        metrics = httpx.get(f"{url}/metrics", trust_env=False).text
        (line,) = [line for line in metrics.splitlines() if line.startswith("chatbot_http_requests_in_progress")]
        return float(line.rpartition(" ")[2])

    wait_until(lambda: in_progress() == 1)  # the request for the metrics


def disconnect_everywhere(url: str, requests: list[str], user: User, body: str = "") -> None:
    rng = random.Random(2)  # noqa: S311 - not a secret
    for request in requests:
        for position in POSITIONS:
            disconnect(url, request, user, position, body)
            time.sleep(rng.uniform(0, 0.02))
    wait_for_requests(url)


@pytest.fixture
def long_session(sql: Sql, ada: User) -> str:
    """A session of 20 MB."""
    return str(
        sql.value(
            """
            WITH made AS (
                INSERT INTO chat_sessions (uuid, user_id, title, message_count, last_seq)
                SELECT gen_random_uuid(), id, 'long', 2000, 2000 FROM users WHERE uuid = %s RETURNING id, uuid
            ), stored AS (
                INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
                SELECT gen_random_uuid(), id, seq, 'user', repeat('x', 10000), 'complete'
                FROM made, generate_series(1, 2000) AS seq
            )
            SELECT uuid FROM made
            """,
            [ada.id],
        )
    )


def test_exports_of_sessions(settings: Settings, long_session: str, ada: User, redis: Redis) -> None:
    requests = [
        f"GET {CHAT}{path}?format={file_format}"
        for path in (f"/sessions/{long_session}/export", "/export")
        for file_format in ("json", "md", "txt")
    ]
    with running(main.create(settings.model_copy(update={"TRANSFERS_PER_USER": 1000}))) as (url, errors):
        disconnect_everywhere(url, requests, ada)
    assert errors == []


@pytest.mark.usefixtures("long_session")
def test_exports_of_accounts(settings: Settings, ada: User, redis: Redis) -> None:
    with running(auth_main.create(settings.model_copy(update={"TRANSFERS_PER_USER": 1000}))) as (url, errors):
        disconnect_everywhere(url, [f"GET {AUTH}/me/export"] * 3, ada)
    assert errors == []


def test_reports_and_exports_of_the_audit_log(
    settings: Settings, admin: User, sql: Sql, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def many_rows(*_: object) -> AsyncGenerator[UserRow]:
        row: Any = UserRow
        for number in range(ROWS):
            yield row.model_construct(username=f"{number:0>400}")

    monkeypatch.setattr(usage_reports, "stream_user_rows", many_rows)
    sql.do(
        "INSERT INTO audit_log (action, outcome, details)"
        " SELECT 'login.opened', 'done', jsonb_build_object('filler', repeat('x', 200)) FROM generate_series(1, %s)",
        [ROWS],
    )
    requests = [
        f"GET {ADMIN}/reports/users.csv",
        f"GET {ADMIN}/reports/overview.csv",
        f"GET {ADMIN}/audit/export?format=csv",
        f"GET {ADMIN}/audit/export?format=jsonl",
    ]
    with running(admin_main.create(settings)) as (url, errors):
        disconnect_everywhere(url, requests, admin)
    assert errors == []


def test_event_streams(settings: Settings, ada: User, provider: Provider, sql: Sql, redis: Redis) -> None:
    with running(main.create(settings.model_copy(update={"STREAMS_PER_USER": 1000}))) as (url, errors):
        provider.always(answers(" ".join(["word"] * 100), every=0.01))
        server = ChatServer(url, ada)
        for position in (0, 1, 300, 1000):
            disconnect(url, f"POST {CHAT}/direct/stream", ada, position, '{"message": "Hi"}')
            session = server.open()
            disconnect(url, f"POST {CHAT}/sessions/{session}/messages/stream", ada, position, '{"message": "Hi"}')
            message = server.wait_for_answer(session)["id"] if position else None
            if message:
                disconnect(url, f"GET {CHAT}/sessions/{session}/messages/{message}/events", ada, position)
            body = '{"model": "gpt-primary", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
            disconnect(url, "POST /v1/chat/completions", ada, position, body)
        wait_for_requests(url)
        server.http.close()
    assert errors == []


@contextmanager
def open_download(url: str, path: str, user: User) -> Iterator[socket.socket]:
    """Request a download and read its beginning only."""
    address = urlsplit(url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.connect((address.hostname, address.port))
        head = f"GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {user.access_token}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        yield connection


@pytest.mark.parametrize("leaves", [False, True], ids=["the client waits", "the client disconnects"])
def test_downloads_during_a_shutdown(
    settings: Settings, long_session: str, ada: User, redis: Redis, *, leaves: bool
) -> None:
    with ExitStack() as stack:
        url, errors = stack.enter_context(running(main.create(settings)))
        with open_download(url, f"{CHAT}/sessions/{long_session}/export", ada) as connection:
            if not leaves:
                stack.close()
                assert not is_complete(connection)
        stack.close()
    # The server's own message, without a traceback.
    cancelled = [] if leaves else ["Cancel 1 running task(s), timeout graceful shutdown exceeded"]
    assert errors == cancelled


def is_complete(connection: socket.socket) -> bool:
    """Return whether a response in chunks ends with the last one."""
    end = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(65_536):
            end = end[-10:] + data
    return end.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "statement",
    ["UPDATE auth_sessions SET revoked_at = now(), revoked_reason = 'logout'", "DELETE FROM chat_sessions"],
    ids=["the login ends", "the session is deleted"],
)
def test_downloads_that_end_early_are_cut(
    settings: Settings, long_session: str, ada: User, redis: Redis, sql: Sql, statement: str
) -> None:
    with (
        running(main.create(settings)) as (url, errors),
        open_download(url, f"{CHAT}/sessions/{long_session}/export", ada) as connection,
    ):
        sql.do(statement)
        time.sleep(1.1)  # logins are checked once a second
        assert not is_complete(connection)
        wait_for_requests(url)
    assert errors == []
