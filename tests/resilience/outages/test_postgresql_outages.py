"""Outages of PostgreSQL under running services: stopped, suspended, killed and restarted."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from fastapi.testclient import TestClient

from app import auth_main
from app.config import Settings
from local.orphans import recorded_processes
from local.postgres import Postgres
from tests.fixtures.database import Sql
from tests.fixtures.dedicated_servers import stopped, suspended
from tests.fixtures.processes import WorkerProcess
from tests.fixtures.services import AUTH, Chat, assert_problem, login, register
from tests.resilience.outages.health import wait_for_health
from tests.support.provider import Provider, held
from tests.support.request_timeout import production_request_timeout
from tests.support.waiting import closed_gate, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx2 import Response


def test_postgresql_outage_returns_503_and_recovers(chat: Chat, auth: TestClient, postgres: Postgres) -> None:
    session = chat.open()
    postgres.stop()
    try:
        for _ in range(3):
            for response in (
                chat.request("GET", "/sessions"),
                chat.request("POST", f"/sessions/{session}/messages", json={"message": "Hi"}),
                auth.get(f"{AUTH}/me", headers=chat.user.headers),
                login(auth, "ada"),
                register(auth, "eve"),
            ):
                assert_problem(response, 503, "database_unavailable")
                assert int(response.headers["Retry-After"]) > 0
        for client in (chat.client, auth):
            wait_for_health(client, "unhealthy")
            assert client.get("/health").status_code == 503
            assert client.get("/readyz").status_code == 503
            assert client.get("/livez").status_code == 200
    finally:
        postgres.start()
    assert chat.request("GET", "/sessions").status_code == 200  # logins are still valid
    assert chat.ask(session, "Hi")["ai_response"]["status"] == "complete"
    wait_for_health(chat.client, "healthy")


def test_suspended_postgresql_returns_503(chat: Chat, auth: TestClient, server_home: Path) -> None:
    session = chat.open()
    requests: list[Callable[[], Response]] = [
        lambda: register(auth, "eve"),
        lambda: login(auth, "ada"),
        lambda: chat.request("GET", "/sessions"),
        lambda: chat.request("POST", f"/sessions/{session}/messages", json={"message": "Hi"}),
    ]
    with suspended("postgres", server_home), production_request_timeout(), ThreadPoolExecutor(len(requests)) as pool:
        for response in pool.map(lambda request: request(), requests):
            assert_problem(response, 503, "database_unavailable")
        assert chat.client.get("/livez").status_code == 200
    wait_for_health(chat.client, "healthy")
    assert chat.ask(chat.open(), "Hi")["ai_response"]["status"] == "complete"


def test_answer_is_stored_after_postgresql_restarts(chat: Chat, postgres: Postgres, provider: Provider) -> None:
    session = chat.open()
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate))
        future = pool.submit(chat.ask, session, "Hi")
        provider.wait_for_calls(1)
        with stopped(postgres):
            gate.set()
            wait_until(lambda: provider.calls[0].finished)
            time.sleep(0.5)  # storing the answer fails
        assert future.result()["ai_response"]["status"] == "complete"
    assert len(provider.calls) == 1
    messages = chat.request("GET", f"/sessions/{session}").json()["messages"]
    assert [message["content"] for message in messages] == ["Hi", "Hello."]


def test_killed_postgresql_loses_no_stored_answer(chat: Chat, postgres: Postgres, server_home: Path) -> None:
    session = chat.open()
    chat.ask(session, "remember this")
    psutil.Process(recorded_processes(server_home)["postgres"].pid).kill()
    postgres.stop()
    postgres.start()
    contents = [message["content"] for message in chat.request("GET", f"/sessions/{session}").json()["messages"]]
    assert contents == ["remember this", "Hello."]


def test_starting_service_waits_for_postgresql(settings: Settings, postgres: Postgres) -> None:
    postgres.stop()

    def serve() -> int:
        with TestClient(auth_main.create(settings)) as client:
            return client.get("/readyz").status_code

    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(serve)
        time.sleep(0.5)
        assert not started.done()
        postgres.start()
        assert started.result() == 200


def test_worker_waits_for_postgresql_and_recovers(
    chat: Chat, settings: Settings, server_home: Path, postgres: Postgres
) -> None:
    worker = WorkerProcess(settings, server_home)
    try:
        worker.wait_for("worker started")
        before = len(worker.log_lines())
        with stopped(postgres):
            wait_until(lambda: "job waiting for database" in messages(worker, before))
        wait_until(lambda: "job recovered" in messages(worker, before))
        assert worker.exit_code() is None
        sql = Sql(postgres.url())
        answer = chat.ask(chat.open(), "Hi")["ai_response"]["id"]
        sql.do("UPDATE chat_messages SET status = 'pending', lease_expires_at = now() WHERE uuid = %s", [answer])
        status = "SELECT status FROM chat_messages WHERE uuid = %s"
        Provider.wait_until(lambda: sql.value(status, [answer]) == "interrupted")
        sql.close()
        # A job says so once for each outage, however often it tries again.
        for job in {line["job"] for line in worker.log_lines() if "job" in line}:
            outage_messages = [message for message in messages(worker, 0, job) if message in OUTAGE_MESSAGES]
            assert outage_messages[::2] == ["job waiting for database"] * len(outage_messages[::2])
            assert outage_messages[1::2] == ["job recovered"] * len(outage_messages[1::2])
    finally:
        worker.stop()


OUTAGE_MESSAGES = ("job waiting for database", "job recovered")


def messages(worker: WorkerProcess, first: int, job: str | None = None) -> list[str]:
    """Return the messages that a worker has logged since a line, those about all jobs or one."""
    lines = worker.log_lines()[first:]
    return [str(line["message"]) for line in lines if job is None or line.get("job") == job]
