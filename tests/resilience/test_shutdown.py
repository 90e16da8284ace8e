"""Shutdown of a service with open event streams, after SIGTERM."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from tests.chat.streaming.stream_checks import assert_complete_stream
from tests.fixtures.database import Sql
from tests.fixtures.processes import ChatProcess, process
from tests.fixtures.services import CHAT, User
from tests.fixtures.streaming import ChatServer, Event
from tests.support.provider import Provider, answers, chunk, streams
from tests.support.waiting import LONGEST_WAIT, closed_gate, wait_until

GRACE, NOTICE = 9.0, 2.0
"""Seconds for the whole shutdown, and those before the port is closed."""


@pytest.fixture(params=[60.0])
def chat_process(request: pytest.FixtureRequest, settings: Settings, home: Path) -> Iterator[ChatProcess]:
    """A chat service, by default one with a longer grace period than any test waits."""
    grace = settings.model_copy(update={"SHUTDOWN_GRACE": request.param})
    service = ChatProcess(grace, home, TEST_NOTICE_SECONDS=str(NOTICE))
    yield service
    service.stop()


@pytest.fixture
def replica(chat_process: ChatProcess, ada: User, sql: Sql, provider: Provider) -> Iterator[ChatServer]:
    server = ChatServer(str(chat_process.client.base_url).rstrip("/"), ada)
    yield server
    server.http.close()


class Readiness(threading.Thread):
    """Polls the readiness of the service, each time on a new connection."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.statuses: list[int | None] = []
        """Status of each response; None for a refused connection."""

    def run(self) -> None:
        while not self.statuses or self.statuses[-1] is not None:
            try:
                status = httpx.get(f"{self._url}/readyz", timeout=60, trust_env=False).status_code
            except httpx.TransportError:
                status = None
            self.statuses.append(status)
            time.sleep(0.02)


def read(server: ChatServer, session: str, started: threading.Semaphore) -> list[Event]:
    """Read an answer to its end and return its events."""
    with server.ask(session) as reader:
        events = reader.take(2)
        started.release()
        events += list(reader)
    return events


@pytest.mark.parametrize("chat_process", [GRACE], indirect=True)
def test_shutdown_ends_twenty_streams_with_terminal_events_in_time(
    replica: ChatServer, chat_process: ChatProcess, home: Path, provider: Provider, sql: Sql
) -> None:
    url = str(chat_process.client.base_url).rstrip("/")
    sessions = [replica.open() for _ in range(20)]
    started = threading.Semaphore(0)
    running = process(chat_process._component, home)
    readiness = Readiness(url)
    with ThreadPoolExecutor(20) as pool, ExitStack() as stack:
        gate = stack.enter_context(closed_gate())
        # Half of them complete within the grace period, the others do not end.
        provider.script(*[answers("one two three four", end=gate)] * 10)
        provider.always(streams(chunk("Once upon"), hold=True))
        reads: list[Future[list[Event]]] = [pool.submit(read, replica, one, started) for one in sessions]
        for _ in sessions:
            assert started.acquire(timeout=LONGEST_WAIT)
        readiness.start()
        stack.callback(readiness.join)
        Provider.wait_until(lambda: bool(readiness.statuses))
        signalled_at = time.monotonic()
        running.terminate()
        # While the port is open and every stream goes on.
        wait_until(lambda: readiness.statuses[-1] != 200)
        assert readiness.statuses[-1] == 503
        assert not any(one.done() for one in reads)
        gate.set()
        outcomes = [one.result() for one in reads]
        running.wait(timeout=LONGEST_WAIT)
        ended = time.monotonic()
    # The grace period ends it: the server itself would wait for 20 s.
    assert ended - signalled_at < 2 * GRACE
    assert readiness.statuses[0] == 200
    ends = [events[-1] for events in outcomes]
    assert sorted(end.name for end in ends) == ["message.completed"] * 10 + ["message.failed"] * 10
    for session, events in zip(sessions, outcomes, strict=True):
        (stored,) = sql.rows(
            "SELECT chat_messages.content, chat_messages.status FROM chat_messages"
            " JOIN chat_sessions ON session_id = chat_sessions.id"
            " WHERE role = 'assistant' AND chat_sessions.uuid = %s",
            [session],
        )
        assert_complete_stream(events, stored)
        if events[-1].name == "message.failed":
            assert (events[-1].data["code"], stored["status"], stored["content"]) == (
                "shutting_down",
                "interrupted",
                "Once upon",
            )


@pytest.mark.parametrize("late_seconds", [LONGEST_WAIT, 0.0])
def test_question_that_arrives_after_the_port_is_closed(
    settings: Settings, home: Path, ada: User, sql: Sql, provider: Provider, late_seconds: float
) -> None:
    service = ChatProcess(settings, home, TEST_NOTICE_SECONDS="0.1", TEST_LATE_SECONDS=str(late_seconds))
    body = b'{"message": "Hi"}'
    running = process(service._component, home)
    url = httpx.URL(service.url)
    with socket.create_connection((url.host, url.port)) as connection:
        head = f"POST {CHAT}/direct HTTP/1.1\r\nHost: test\r\nAuthorization: {ada.headers['Authorization']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode())
        httpx.get(f"{service.url}/readyz", trust_env=False)  # the service has accepted the connection by now
        running.terminate()
        readiness = Readiness(service.url)
        readiness.start()
        readiness.join()  # the port is closed
        time.sleep(0.5)
        connection.sendall(body)
        status = connection.makefile("rb").readline()
    assert status.split()[1] == (b"200" if late_seconds else b"503")
    service.stop()


def test_idle_service_ends_immediately(chat_process: ChatProcess, home: Path) -> None:
    running = process(chat_process._component, home)
    signalled_at = time.monotonic()
    running.terminate()
    running.wait(timeout=LONGEST_WAIT)
    assert time.monotonic() - signalled_at < 30


@pytest.mark.parametrize("chat_process", [GRACE], indirect=True)
def test_second_signal_ends_the_service_early(
    replica: ChatServer, chat_process: ChatProcess, home: Path, provider: Provider
) -> None:
    running = process(chat_process._component, home)
    provider.always(streams(chunk("Once upon"), hold=True))
    with replica.ask(replica.open()) as reader:
        reader.take(2)
        running.terminate()
        running.terminate()
        assert list(reader)[-1].name == "message.failed"
    running.wait(timeout=30)
