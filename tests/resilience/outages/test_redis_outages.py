"""Outages of Redis under running services: stopped, suspended and emptied."""

import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from local.redis import Redis
from tests.fixtures.dedicated_servers import stopped, suspended
from tests.fixtures.services import AUTH, Chat, assert_problem, login
from tests.resilience.outages.health import wait_for_health
from tests.support.waiting import wait_until


def redis_outages(client: TestClient) -> int:
    """Return how often the service has waited for a Redis that did not respond, once it uses Redis again."""
    breaker = client.app_state["resources"].breaker
    wait_until(lambda: not breaker.is_open)
    return int(breaker.outages)


def test_health_reports_service_and_checks(auth: TestClient, chat: Chat) -> None:
    wait_for_health(auth, "healthy")
    checks = {"database": "up", "redis": "up"}
    common = {"status": "healthy", "version": "1.0.0", "checks": checks}
    assert auth.get("/health").json() == common | {"service": "auth-service"}
    wait_for_health(chat.client, "healthy")
    assert chat.client.get("/health").json() == common | {"service": "chat-service", "graph_ready": True}
    assert chat.client.get("/readyz").status_code == 200
    assert chat.client.get("/livez").json() == {"status": "alive"}


def test_services_work_without_redis(chat: Chat, auth: TestClient, redis_server: Redis) -> None:
    session, before = chat.open(), redis_outages(chat.client)
    redis_server.stop()
    try:
        wait_for_health(chat.client, "degraded")
        assert chat.client.get("/health").status_code == 200
        assert chat.client.get("/readyz").status_code == 200
        for _ in range(3):
            chat.ask(session, "Hi")
        assert login(auth, "ada").status_code == 200
    finally:
        redis_server.start()
    wait_for_health(chat.client, "healthy")
    assert redis_outages(chat.client) == before + 1


@pytest.mark.usefixtures("redis_server")
def test_suspended_redis_delays_requests_once(chat: Chat, server_home: Path) -> None:
    session, before = chat.open(), redis_outages(chat.client)
    with suspended("redis", server_home):
        time.sleep(0.2)  # longer than the cache of health checks
        assert chat.client.get("/health").json()["checks"]["redis"] == "down"
        for _ in range(3):
            chat.ask(session, "Hi")
    wait_for_health(chat.client, "healthy")
    assert redis_outages(chat.client) == before + 1


@pytest.mark.parametrize("redis_state", ["up", "suspended", "emptied", "down"])
def test_logout_takes_effect_immediately_in_any_state_of_redis(
    chat: Chat, auth: TestClient, redis_server: Redis, server_home: Path, redis_state: str
) -> None:
    tokens = login(auth, "ada").json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert chat.client.get("/api/v1/chat/sessions", headers=headers).status_code == 200
    if redis_state == "emptied":
        redis_server.stop()
        redis_server.start()
    state = {"suspended": suspended("redis", server_home), "down": stopped(redis_server)}
    with state.get(redis_state, nullcontext()):
        assert auth.post(f"{AUTH}/logout", headers=headers).status_code == 200
        for client, path in ((auth, f"{AUTH}/me"), (chat.client, "/api/v1/chat/sessions")):
            assert_problem(client.get(path, headers=headers), 401, "unauthorized")
        refreshed = auth.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert_problem(refreshed, 401, "invalid_refresh_token")
    assert_problem(auth.get(f"{AUTH}/me", headers=headers), 401, "unauthorized")
