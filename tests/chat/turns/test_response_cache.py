"""Response cache: repeated questions at a chat service with a time to live for answers."""

import asyncio
import hashlib
import itertools
import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app import main
from app.config import Settings
from local.redis import Redis as RedisServer
from tests.fixtures.database import Sql
from tests.fixtures.dedicated_servers import frozen
from tests.fixtures.services import AUTH, CHAT, PASSWORD, User
from tests.fixtures.streaming import ChatServer, serving, text_of
from tests.support.provider import Call, Provider, Wire, answers, fails, held, streams
from tests.support.provider import chunk as event
from tests.support.waiting import closed_gate, wait_until

TEXT = "Many words that follow each other. " * 20
WHOLE = TEXT.strip()


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    with serving(main.create(settings.model_copy(update={"LLM_CACHE_TTL": 600}))) as url:
        yield url


@pytest.fixture(scope="module")
def with_own_redis(settings: Settings, redis_server: RedisServer) -> Settings:
    """Settings of a service with a dedicated Redis that tests may suspend, and a short Redis timeout."""
    return settings.model_copy(update={"LLM_CACHE_TTL": 600, "REDIS_URL": redis_server.url, "REDIS_TIMEOUT": 4.0})


@pytest.fixture
def ada_asks(url: str, ada: User, sql: Sql, redis: Redis, provider: Provider) -> Iterator[ChatServer]:
    asker = ChatServer(url, ada)
    yield asker
    asker.http.close()


@pytest.fixture
def bob_asks(url: str, bob: User) -> Iterator[ChatServer]:
    asker = ChatServer(url, bob)
    yield asker
    asker.http.close()


def ask(server: ChatServer, message: str = "Hi", session: str | None = None) -> dict[str, object]:
    """Ask in a session, by default a new one, and return the answer."""
    path = f"/sessions/{session or server.open()}/messages"
    return dict(server.http.post(path, json={"message": message}).raise_for_status().json()["ai_response"])


def metadata(answer: dict[str, object]) -> dict[str, object]:
    found = answer["metadata"]
    assert isinstance(found, dict)
    return found


def cached_text(redis: Redis) -> str:
    """Return the values of all cache entries, one per line."""
    return "\n".join(str(redis.get(key)) for key in redis.scan_iter("answer:*"))


def test_repeated_question_is_answered_from_the_cache_and_marked_as_cached(
    ada_asks: ChatServer, provider: Provider, sql: Sql
) -> None:
    provider.always(answers(TEXT, usage=(12, 100)))
    first, again = ask(ada_asks), ask(ada_asks)
    assert len(provider.calls) == 1
    assert first["content"] == again["content"] == WHOLE
    assert (metadata(first)["cached"], metadata(again)["cached"]) == (False, True)
    assert (first["tokens_used"], again["tokens_used"]) == (112, 0)
    assert metadata(first)["tokens_used"] == {"input": 12, "output": 100, "total": 112}
    assert metadata(again)["tokens_used"] == {"input": 0, "output": 0, "total": 0}
    assert metadata(again)["model_used"] == "gpt-primary"
    ledger = "SELECT is_cached, status, attempt, prompt_tokens, completion_tokens FROM llm_calls ORDER BY id"
    assert [tuple(row.values()) for row in sql.rows(ledger)] == [(False, "ok", 1, 12, 100), (True, "ok", 1, 0, 0)]


def test_cached_answer_streams_like_a_new_one(ada_asks: ChatServer, provider: Provider) -> None:
    provider.always(answers(TEXT))
    ask(ada_asks)
    events = ada_asks.ask_all(ada_asks.open())
    assert len(provider.calls) == 1
    assert [event.name for event in events[:2]] == ["message.created", "message.delta"]
    assert events[-1].name == "message.completed"
    assert events[-1].data["message"]["metadata"]["cached"]
    assert text_of(events) == WHOLE
    assert len([event for event in events if event.name == "message.delta"]) > 1
    assert events[-1].data["sha256"] == hashlib.sha256(WHOLE.encode()).hexdigest()
    assert ada_asks.ask_all(None)[-1].data["message"]["metadata"]["cached"]


def test_cache_key_includes_the_history(ada_asks: ChatServer, provider: Provider) -> None:
    session, other = ada_asks.open(), ada_asks.open()
    provider.script(answers("Good day."), answers("Again?"), answers("You are Ada."))
    ask(ada_asks, "Hi", session)
    assert ask(ada_asks, "Hi", session)["content"] == "Again?"
    ask(ada_asks, "I am Ada", other)
    assert ask(ada_asks, "Hi", other)["content"] == "Hello."
    assert len(provider.calls) == 4


def test_users_do_not_share_cached_answers(ada_asks: ChatServer, bob_asks: ChatServer, provider: Provider) -> None:
    provider.script(answers("For Ada."), answers("For Bob."))
    assert [ask(server)["content"] for server in (ada_asks, bob_asks)] == ["For Ada.", "For Bob."]
    assert [ask(server)["content"] for server in (ada_asks, bob_asks)] == ["For Ada.", "For Bob."]
    assert len(provider.calls) == 2


def test_users_share_cached_answers_with_global_scope(
    settings: Settings, ada: User, bob: User, sql: Sql, redis: Redis, provider: Provider
) -> None:
    everybody = settings.model_copy(update={"LLM_CACHE_TTL": 600, "LLM_CACHE_SCOPE": "global"})
    with TestClient(main.create(everybody)) as client:
        given = [
            client.post(f"{CHAT}/direct", json={"message": "Hi"}, headers=user.headers).json() for user in (ada, bob)
        ]
    assert [answer["metadata"]["cached"] for answer in given] == [False, True]
    assert len(provider.calls) == 1


def test_cache_is_disabled_without_a_time_to_live(chat_client: TestClient, ada: User, provider: Provider) -> None:
    for _ in range(2):
        chat_client.post(f"{CHAT}/direct", json={"message": "Hi"}, headers=ada.headers)
    assert len(provider.calls) == 2


@pytest.mark.parametrize(
    ("streams_it", "fault"),
    [
        pytest.param(False, fails(500), id="no answer"),
        pytest.param(False, answers(TEXT, finish_reason="length"), id="cut off"),
        pytest.param(False, answers(TEXT, finish_reason="content_filter"), id="filtered"),
        pytest.param(False, answers(TEXT, finish_reason=None), id="not finished"),
        pytest.param(False, answers(TEXT, usage=None), id="not counted"),
        pytest.param(True, answers(TEXT, cut_after=5), id="broken off in mid-stream"),
        pytest.param(True, answers(TEXT, usage=None), id="streamed and not counted"),
        pytest.param(
            True, streams(event("One \xff two", finish_reason="stop").replace(b"\\u00ff", b"\xff")), id="UTF-8"
        ),
    ],
)
def test_faulty_or_incomplete_answers_are_not_cached(
    ada_asks: ChatServer, redis: Redis, provider: Provider, fault: Callable[[Call, Wire], object], *, streams_it: bool
) -> None:
    provider.always(fault)  # type: ignore[arg-type] # a Behaviour
    ask_it = (lambda: ada_asks.ask_all(None)) if streams_it else (lambda: ask(ada_asks))
    ask_it()
    assert not list(redis.scan_iter("answer:*"))
    provider.forget()
    ask_it()
    assert len(provider.calls) == 1


def test_deleting_a_session_removes_its_text_from_the_cache(
    ada_asks: ChatServer, redis: Redis, provider: Provider
) -> None:
    provider.script(answers("Secret one."), answers("Secret two."), answers("Elsewhere."))
    session, other = ada_asks.open(), ada_asks.open()
    ask(ada_asks, "Hi", session)
    ask(ada_asks, "And?", session)
    ask(ada_asks, "Something else", other)
    assert metadata(ask(ada_asks, "Hi", ada_asks.open()))["cached"]
    wait_until(lambda: {"Secret", "Elsewhere"} <= set(re.findall(r"Secret|Elsewhere", cached_text(redis))))
    ada_asks.http.delete(f"/sessions/{session}").raise_for_status()
    assert "Secret" not in cached_text(redis)
    assert "Elsewhere" in cached_text(redis)


def test_deleting_a_session_removes_cached_answers_that_it_reused(
    ada_asks: ChatServer, redis: Redis, provider: Provider
) -> None:
    provider.script(answers("Secret one."))
    ask(ada_asks)
    session = ada_asks.open()
    ask(ada_asks, session=session)
    ada_asks.http.delete(f"/sessions/{session}").raise_for_status()
    assert "Secret" not in cached_text(redis)


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.003, 0.01, 0.03])
def test_deleting_a_session_during_its_turn_leaves_no_cached_answer(
    ada_asks: ChatServer, redis: Redis, provider: Provider, delay: float
) -> None:
    provider.always(answers("Secret.", first_after=0.01))
    for number in range(10):
        session = ada_asks.open()
        with ThreadPoolExecutor() as pool:
            asking = pool.submit(
                ada_asks.http.post, f"/sessions/{session}/messages", json={"message": f"{delay} {number}"}
            )
            provider.wait_for_calls(number + 1)
            sleep(delay)
            ada_asks.http.delete(f"/sessions/{session}").raise_for_status()
            assert asking.result().status_code in {200, 404}
    ask(ada_asks, "something else")
    wait_until(lambda: "Secret." in cached_text(redis))
    assert cached_text(redis).count("Secret.") == 1


def test_cached_answers_are_removed_after_redis_recovers(
    with_own_redis: Settings, redis_server: RedisServer, own_home: Path, ada: User, sql: Sql, provider: Provider
) -> None:
    provider.script(answers("Secret."))
    with serving(main.create(with_own_redis)) as url, Redis.from_url(redis_server.url) as redis:
        server = ChatServer(url, ada)
        session = server.open()
        ask(server, session=session)
        wait_until(lambda: "Secret" in cached_text(redis))
        with frozen("redis", own_home):
            server.http.delete(f"/sessions/{session}").raise_for_status()
        wait_until(lambda: not cached_text(redis))
        server.http.close()


def test_suspended_redis_is_waited_for_once_and_questions_are_answered(
    with_own_redis: Settings, own_home: Path, ada: User, sql: Sql, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(main.create(with_own_redis)) as client:

        def ask_directly() -> dict[str, Any]:
            return dict(client.post(f"{CHAT}/direct", json={"message": "Hi"}, headers=ada.headers).json())

        provider.wait_until(lambda: ask_directly()["metadata"]["cached"])
        with frozen("redis", own_home):
            given = [ask_directly() for _ in range(3)]
            assert client.app_state["resources"].breaker.outages == 1  # only the first question waited
        assert [answer["status"] for answer in given] == ["complete"] * 3
        assert not any(answer["metadata"]["cached"] for answer in given)
        provider.wait_until(lambda: ask_directly()["metadata"]["cached"])


def test_deleting_an_account_deletes_its_cached_answers(
    ada_asks: ChatServer, auth_client: TestClient, redis: Redis, provider: Provider
) -> None:
    provider.script(answers("Secret one."), answers("Secret two."))
    ask(ada_asks)
    ada_asks.http.post("/direct", json={"message": "And directly?"}).raise_for_status()
    wait_until(lambda: cached_text(redis).count("Secret") == 2)
    erased = auth_client.request("DELETE", f"{AUTH}/me", json={"password": PASSWORD}, headers=ada_asks.user.headers)
    removed = {item["what"]: item["count"] for item in erased.json()["removed"] if item["store"] == "redis"}
    assert removed["cached_answers"] == 2
    assert not cached_text(redis)


def test_concurrent_identical_questions_share_one_model_call(
    ada_asks: ChatServer, provider: Provider, sql: Sql
) -> None:
    sessions = [ada_asks.open() for _ in range(10)]
    with ThreadPoolExecutor(10) as pool, closed_gate() as gate:
        provider.always(held(gate, answers(TEXT, usage=(12, 100))))
        asked = [pool.submit(ada_asks.ask_all, session) for session in sessions]
        wait_until(lambda: sql.value("SELECT count(*) FROM chat_messages WHERE status = 'pending'") == 10)
        gate.set()
        given = [one.result() for one in asked]
    assert {text_of(events) for events in given} == {WHOLE}
    assert len(provider.calls) == 1
    assert sorted(row["prompt_tokens"] for row in sql.rows("SELECT prompt_tokens FROM llm_calls")) == [0] * 9 + [12]


def test_cancelling_one_of_two_turns_with_a_shared_model_call_does_not_cancel_the_other(
    ada_asks: ChatServer, provider: Provider
) -> None:
    mine, other = ada_asks.open(), ada_asks.open()
    with closed_gate() as gate:
        provider.always(answers(TEXT, every=0.01, end=gate))
        with ada_asks.ask(mine) as reader, ada_asks.ask(other) as second:
            created, _ = reader.take(2)
            second.take(2)
            assert ada_asks.cancel(mine, created.data["message_id"]).json()["status"] == "cancelled"
            gate.set()
            assert list(second)[-1].name == "message.completed"
    assert ada_asks.wait_for_answer(other)["content"] == WHOLE
    assert len(provider.calls) == 1


async def test_concurrent_users_never_get_cached_answers_of_each_other(
    url: str, make_user: Callable[[str], User], redis: Redis, provider: Provider
) -> None:
    chance = random.Random(3)  # noqa: S311 - not a secret
    people = [make_user(f"user{number}") for number in range(4)]
    canaries = itertools.count()
    whose: dict[str, User] = {}
    cancelled = 0

    async def numbered(call: Call, wire: Wire) -> None:
        await answers(f"canary {next(canaries)}. " * 30, first_after=chance.choice((0, 0.005)))(call, wire)

    provider.always(numbered)
    async with httpx.AsyncClient(base_url=f"{url}{CHAT}", timeout=120, trust_env=False) as client:

        async def ask(number: int) -> None:
            nonlocal cancelled
            user = chance.choice(people)
            asked = asyncio.ensure_future(
                client.post(
                    chance.choice(("/direct", "/direct/stream")),
                    json={"message": f"question {number % 5}"},
                    headers=user.headers,
                )
            )
            if chance.random() < 0.4:
                await asyncio.wait({asked}, timeout=chance.choice((0.002, 0.01, 0.05)))
                asked.cancel()
            await asyncio.wait({asked})
            if asked.cancelled():
                cancelled += 1
            else:
                # All users ask the same questions; each answer contains a number that only one user may see.
                (canary,) = set(re.findall(r"canary \d+", asked.result().text))
                assert whose.setdefault(canary, user) == user

        await asyncio.gather(*(ask(number) for number in range(300)))
    assert len(whose) >= len(people)
    # One call per user and question, and another when all requests that waited for it were cancelled.
    assert next(canaries) <= len(people) * 5 + cancelled
