"""SIGTERM with event streams open: what a service process does until it has ended."""

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
    """Asks whether the service is ready, again and again, each time on a connection of its own."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.answers: list[tuple[float, int | None]] = []
        """When, and with which status; None: the connection was refused."""

    def run(self) -> None:
        while not self.answers or self.answers[-1][1] is not None:
            try:
                status = httpx.get(f"{self._url}/readyz", timeout=5, trust_env=False).status_code
            except httpx.TransportError:
                status = None
            self.answers.append((time.monotonic(), status))
            time.sleep(0.02)


def read(server: ChatServer, session: str, begun: threading.Semaphore) -> tuple[list[Event], float]:
    """Read an answer to its end, and tell when that was."""
    with server.ask(session) as reader:
        events = reader.take(2)
        begun.release()
        events += list(reader)
    return events, time.monotonic()


def test_twenty_streams_end_with_a_terminal_event_and_the_process_in_time(
    replica: ChatServer, chat_process: ChatProcess, home: Path, provider: Provider, sql: Sql
) -> None:
    url = str(chat_process.client.base_url).rstrip("/")
    sessions = [replica.open() for _ in range(20)]
    # Half of them would be over in time, and half of them never.
    provider.script(*[answers("one two three four", every=0.5)] * 10)
    provider.always(streams(chunk("Once upon"), hold=True))
    begun = threading.Semaphore(0)
    running = process(chat_process._part, home)
    readiness = Readiness(url)
    with ThreadPoolExecutor(20) as pool, ExitStack() as stack:
        reads: list[Future[tuple[list[Event], float]]] = [pool.submit(read, replica, one, begun) for one in sessions]
        for _ in sessions:
            assert begun.acquire(timeout=20)
        readiness.start()
        stack.callback(readiness.join)
        Provider.wait_until(lambda: bool(readiness.answers))
        told = time.monotonic()
        running.terminate()
        outcomes = [one.result() for one in reads]
        running.wait(timeout=30)
        ended = time.monotonic()
    assert ended - told < GRACE
    assert readiness.answers[0][1] == 200
    reds = [moment for moment, status in readiness.answers if status == 503]
    assert reds, "readiness was never red while the port was open"
    assert reds[0] - told < 0.5
    assert reds[0] < min(moment for _, moment in outcomes)
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


def test_without_anything_to_do_it_ends_at_once(chat_process: ChatProcess, home: Path) -> None:
    running = process(chat_process._part, home)
    told = time.monotonic()
    running.terminate()
    running.wait(timeout=10)
    assert time.monotonic() - told < 3


def test_a_second_signal_is_not_waited_for(
    replica: ChatServer, chat_process: ChatProcess, home: Path, provider: Provider
) -> None:
    running = process(chat_process._part, home)
    provider.always(streams(chunk("Once upon"), hold=True))
    with replica.ask(replica.open()) as reader:
        reader.take(2)
        running.terminate()
        running.terminate()
        assert list(reader)[-1].name == "message.failed"
    running.wait(timeout=GRACE)
