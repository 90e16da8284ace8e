"""Requests that an outage of PostgreSQL interrupts: refreshes of tokens and exports."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Client, RemoteProtocolError, Response

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.database.repositories.accounts import auth_sessions
from local.postgres import Postgres
from local.services import Service
from tests.fixtures.database import Sql
from tests.fixtures.dedicated_servers import suspended
from tests.fixtures.processes import environment, free_port
from tests.fixtures.services import AUTH, User, assert_problem, login, register
from tests.resilience.outages.health import wait_for_health
from tests.support.request_timeout import production_request_timeout


def test_refresh_interrupted_by_postgresql_can_be_repeated(
    auth: TestClient, ada: User, postgres: Postgres, server_home: Path
) -> None:
    """Whether or not PostgreSQL stored an exchange that got no response, the same token works again."""
    token = login(auth, "ada").json()["refresh_token"]

    def refresh() -> Response:
        return auth.post(f"{AUTH}/refresh", json={"refresh_token": token})

    with suspended("postgres", server_home), production_request_timeout():
        assert_problem(refresh(), 503, "database_unavailable")
    wait_for_health(auth, "healthy")
    token = refreshed_token(refresh())

    for stop_seconds in (0.0, 0.5):
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(refresh) for _ in range(4)]
            postgres.stop()
            time.sleep(stop_seconds)
            postgres.start()
            statuses = {answer.result().status_code for answer in answers}
        assert statuses <= {200, 503}
        token = refreshed_token(refresh())


def test_unconfirmed_refresh_can_be_repeated_at_any_time_after_recovery(
    auth: TestClient, ada: User, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = login(auth, "ada").json()["refresh_token"]
    rotate = auth_sessions.rotate

    async def rotate_then_fail(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - passed on
        await rotate(*arguments, **named)
        raise DatabaseUnavailableError

    monkeypatch.setattr(auth_sessions, "rotate", rotate_then_fail)
    assert_problem(auth.post(f"{AUTH}/refresh", json={"refresh_token": token}), 503)
    monkeypatch.undo()
    sql = Sql(postgres.url())
    sql.do("UPDATE auth_sessions SET rotated_at = now() - interval '1 day'")
    sql.close()
    postgres.stop()
    assert_problem(auth.post(f"{AUTH}/refresh", json={"refresh_token": token}), 503)
    postgres.start()
    wait_for_health(auth, "healthy")
    refreshed_token(auth.post(f"{AUTH}/refresh", json={"refresh_token": token}))


def test_export_interrupted_by_postgresql_is_an_incomplete_transfer(
    auth: TestClient, settings: Settings, postgres: Postgres, server_home: Path
) -> None:
    account, tokens = register(auth, "exporter").json(), login(auth, "exporter").json()
    sql = Sql(postgres.url())
    sql.do(
        """
        WITH made AS (
            INSERT INTO chat_sessions (uuid, user_id, title, message_count, last_seq)
            SELECT gen_random_uuid(), id, 'long', 4000, 4000 FROM users WHERE uuid = %s RETURNING id
        )
        INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
        SELECT gen_random_uuid(), id, seq, 'user', repeat('x', 10000), 'complete'
        FROM made, generate_series(1, 4000) AS seq
        """,
        [account["id"]],
    )
    sql.close()
    port = free_port()
    service = Service("an-auth-service", "app.auth_main:app", port, server_home, environment(settings))
    service.start()
    document = b""
    try:
        with (
            Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client,
            client.stream(
                "GET", f"{AUTH}/me/export", headers={"Authorization": f"Bearer {tokens['access_token']}"}
            ) as response,
        ):
            assert response.status_code == 200
            chunks = response.iter_raw()
            document += next(chunks)
            postgres.stop()
            with pytest.raises(RemoteProtocolError):
                document += b"".join(chunks)
    finally:
        service.stop()
        postgres.start()
    assert document.startswith(b'{"exported_at":')
    assert not document.rstrip().endswith(b"}]}")


def refreshed_token(response: Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["refresh_token"])
