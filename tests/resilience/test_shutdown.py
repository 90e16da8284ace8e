"""Shutdown of a service with open event streams, after SIGTERM."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from tests.chat.streaming.test_streams import assert_whole
from tests.fixtures.database import Sql
from tests.fixtures.processes import ChatProcess, process
from tests.fixtures.services import User
from tests.fixtures.streaming import ChatServer, Event
from tests.support.provider import Provider, answers, chunk, streams

GRACE = 6.0


@pytest.fixture
def chat_process(settings: Settings, home: Path) -> Iterator[ChatProcess]:
    service = ChatProcess(settings.model_copy(update={"SHUTDOWN_GRACE": GRACE}), home)
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
        self.answers: list[tuple[float, int | None]] = []
        """Time and status of each response; None for a refused connection."""

    def run(self) -> None:
        while not self.answers or self.answers[-1][1] is not None:
            try:
                status = httpx.get(f"{self._url}/readyz", timeout=5, trust_env=False).status_code
            except httpx.TransportError:
                status = None
            self.answers.append((time.monotonic(), status))
            time.sleep(0.02)


def read(server: ChatServer, session: str, begun: threading.Semaphore) -> tuple[list[Event], float]:
    """Read an answer to its end and return its events and the time."""
    with server.ask(session) as reader:
        events = reader.take(2)
        begun.release()
        events += list(reader)
    return events, time.monotonic()


def test_shutdown_ends_twenty_streams_with_terminal_events_in_time(
    replica: ChatServer, chat_process: ChatProcess, home: Path, provider: Provider, sql: Sql
) -> None:
    url = str(chat_process.client.base_url).rstrip("/")
    sessions = [replica.open() for _ in range(20)]
    # Half of them complete within the grace period, the others do not end.
    provider.script(*[answers("one two three four", every=0.5)] * 10)
    provider.always(streams(chunk("Once upon"), hold=True))
    begun = threading.Semaphore(0)
    running = process(chat_process._component, home)
    readiness = Readiness(url)
    with ThreadPoolExecutor(20) as pool, ExitStack() as stack:
        reads: list[Future[tuple[list[Event], float]]] = [pool.submit(read, replica, one, begun) for one in sessions]
        for _ in sessions:
            assert begun.acquire(timeout=20)
        readiness.start()
        stack.callback(readiness.join)
        Provider.wait_until(lambda: bool(readiness.answers))
        signalled_at = time.monotonic()
        running.terminate()
        outcomes = [one.result() for one in reads]
        running.wait(timeout=30)
        ended = time.monotonic()
    assert ended - signalled_at < GRACE
    assert readiness.answers[0][1] == 200
    unready_times = [moment for moment, status in readiness.answers if status == 503]
    assert unready_times, "/readyz never returned 503 while the port was open"
    assert unready_times[0] - signalled_at < 0.5
    assert unready_times[0] < min(moment for _, moment in outcomes)
    ends = [events[-1] for events, _ in outcomes]
    assert sorted(end.name for end in ends) == ["message.completed"] * 10 + ["message.failed"] * 10
    for session, (events, _) in zip(sessions, outcomes, strict=True):
        (stored,) = sql.rows(
            "SELECT chat_messages.content, chat_messages.status FROM chat_messages"
            " JOIN chat_sessions ON session_id = chat_sessions.id"
            " WHERE role = 'assistant' AND chat_sessions.uuid = %s",
            [session],
        )
        assert_whole(events, stored)
        if events[-1].name == "message.failed":
            assert (events[-1].data["code"], stored["status"], stored["content"]) == (
                "shutting_down",
                "interrupted",
                "Once upon",
            )


def test_idle_service_ends_immediately(chat_process: ChatProcess, home: Path) -> None:
    running = process(chat_process._component, home)
    signalled_at = time.monotonic()
    running.terminate()
    running.wait(timeout=10)
    assert time.monotonic() - signalled_at < 3


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
    running.wait(timeout=GRACE)
