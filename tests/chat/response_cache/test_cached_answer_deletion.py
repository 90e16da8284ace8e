"""Cached answers of deleted sessions and accounts, and a Redis that does not respond."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app import main
from app.config import Settings
from local.redis import Redis as RedisServer
from tests.chat.response_cache.cached_answers import ask, cached_text, metadata
from tests.fixtures.database import Sql
from tests.fixtures.dedicated_servers import suspended
from tests.fixtures.services import AUTH, CHAT, PASSWORD, User
from tests.fixtures.streaming import ChatServer, serving
from tests.support.provider import Provider, answers
from tests.support.waiting import wait_until


def test_deleting_a_session_removes_its_text_from_the_cache(
    ada_server: ChatServer, redis: Redis, provider: Provider
) -> None:
    provider.script(answers("Secret one."), answers("Secret two."), answers("Elsewhere."))
    session, other = ada_server.open(), ada_server.open()
    ask(ada_server, "Hi", session)
    ask(ada_server, "And?", session)
    ask(ada_server, "Something else", other)
    assert metadata(ask(ada_server, "Hi", ada_server.open()))["cached"]
    wait_until(lambda: {"Secret", "Elsewhere"} <= set(re.findall(r"Secret|Elsewhere", cached_text(redis))))
    ada_server.http.delete(f"/sessions/{session}").raise_for_status()
    assert "Secret" not in cached_text(redis)
    assert "Elsewhere" in cached_text(redis)


def test_deleting_a_session_removes_cached_answers_that_it_reused(
    ada_server: ChatServer, redis: Redis, provider: Provider
) -> None:
    provider.script(answers("Secret one."))
    ask(ada_server)
    session = ada_server.open()
    ask(ada_server, session=session)
    ada_server.http.delete(f"/sessions/{session}").raise_for_status()
    assert "Secret" not in cached_text(redis)


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.003, 0.01, 0.03])
def test_deleting_a_session_during_its_turn_leaves_no_cached_answer(
    ada_server: ChatServer, redis: Redis, provider: Provider, delay: float
) -> None:
    provider.always(answers("Secret.", first_after=0.01))
    for number in range(10):
        session = ada_server.open()
        with ThreadPoolExecutor() as pool:
            request = pool.submit(
                ada_server.http.post, f"/sessions/{session}/messages", json={"message": f"{delay} {number}"}
            )
            provider.wait_for_calls(number + 1)
            sleep(delay)
            ada_server.http.delete(f"/sessions/{session}").raise_for_status()
            assert request.result().status_code in {200, 404}
    ask(ada_server, "something else")
    wait_until(lambda: "Secret." in cached_text(redis))
    assert cached_text(redis).count("Secret.") == 1


def test_cached_answers_are_removed_after_redis_recovers(
    dedicated_redis_settings: Settings,
    redis_server: RedisServer,
    server_home: Path,
    ada: User,
    sql: Sql,
    provider: Provider,
) -> None:
    provider.script(answers("Secret."))
    with serving(main.create(dedicated_redis_settings)) as url, Redis.from_url(redis_server.url) as redis:
        server = ChatServer(url, ada)
        session = server.open()
        ask(server, session=session)
        wait_until(lambda: "Secret" in cached_text(redis))
        with suspended("redis", server_home):
            server.http.delete(f"/sessions/{session}").raise_for_status()
        wait_until(lambda: not cached_text(redis))
        server.http.close()


def test_suspended_redis_is_waited_for_once_and_questions_are_answered(
    dedicated_redis_settings: Settings,
    server_home: Path,
    ada: User,
    sql: Sql,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with TestClient(main.create(dedicated_redis_settings)) as client:

        def ask_directly() -> dict[str, Any]:
            return dict(client.post(f"{CHAT}/direct", json={"message": "Hi"}, headers=ada.headers).json())

        provider.wait_until(lambda: ask_directly()["metadata"]["cached"])
        with suspended("redis", server_home):
            responses = [ask_directly() for _ in range(3)]
            assert client.app_state["resources"].breaker.outages == 1  # only the first question waited
        assert [answer["status"] for answer in responses] == ["complete"] * 3
        assert not any(answer["metadata"]["cached"] for answer in responses)
        provider.wait_until(lambda: ask_directly()["metadata"]["cached"])


def test_deleting_an_account_deletes_its_cached_answers(
    ada_server: ChatServer, auth_client: TestClient, redis: Redis, provider: Provider
) -> None:
    provider.script(answers("Secret one."), answers("Secret two."))
    ask(ada_server)
    ada_server.http.post("/direct", json={"message": "And directly?"}).raise_for_status()
    wait_until(lambda: cached_text(redis).count("Secret") == 2)
    erased = auth_client.request("DELETE", f"{AUTH}/me", json={"password": PASSWORD}, headers=ada_server.user.headers)
    removed = {item["what"]: item["count"] for item in erased.json()["removed"] if item["store"] == "redis"}
    assert removed["cached_answers"] == 2
    assert not cached_text(redis)
