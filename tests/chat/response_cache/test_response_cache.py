"""Response cache of the chat service: hits, keys, scopes, and answers that are not cached."""

import hashlib
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app import main
from app.config import Settings
from tests.chat.response_cache.cached_answers import STRIPPED_TEXT, TEXT, ask, metadata
from tests.fixtures.database import Sql
from tests.fixtures.services import CHAT, User
from tests.fixtures.streaming import ChatServer, text_of
from tests.support.provider import Call, Provider, Wire, answers, fails, streams
from tests.support.provider import chunk as event


def test_repeated_question_is_answered_from_the_cache_and_marked_as_cached(
    ada_server: ChatServer, provider: Provider, sql: Sql
) -> None:
    provider.always(answers(TEXT, usage=(12, 100)))
    first, again = ask(ada_server), ask(ada_server)
    assert len(provider.calls) == 1
    assert first["content"] == again["content"] == STRIPPED_TEXT
    assert (metadata(first)["cached"], metadata(again)["cached"]) == (False, True)
    assert (first["tokens_used"], again["tokens_used"]) == (112, 0)
    assert metadata(first)["tokens_used"] == {"input": 12, "output": 100, "total": 112}
    assert metadata(again)["tokens_used"] == {"input": 0, "output": 0, "total": 0}
    assert metadata(again)["model_used"] == "gpt-primary"
    ledger = "SELECT is_cached, status, attempt, prompt_tokens, completion_tokens FROM llm_calls ORDER BY id"
    assert [tuple(row.values()) for row in sql.rows(ledger)] == [(False, "ok", 1, 12, 100), (True, "ok", 1, 0, 0)]


def test_cached_answer_streams_like_a_new_one(ada_server: ChatServer, provider: Provider) -> None:
    provider.always(answers(TEXT))
    ask(ada_server)
    events = ada_server.ask_all(ada_server.open())
    assert len(provider.calls) == 1
    assert [event.name for event in events[:2]] == ["message.created", "message.delta"]
    assert events[-1].name == "message.completed"
    assert events[-1].data["message"]["metadata"]["cached"]
    assert text_of(events) == STRIPPED_TEXT
    assert len([event for event in events if event.name == "message.delta"]) > 1
    assert events[-1].data["sha256"] == hashlib.sha256(STRIPPED_TEXT.encode()).hexdigest()
    assert ada_server.ask_all(None)[-1].data["message"]["metadata"]["cached"]


def test_cache_key_includes_the_history(ada_server: ChatServer, provider: Provider) -> None:
    session, other = ada_server.open(), ada_server.open()
    provider.script(answers("Good day."), answers("Again?"), answers("You are Ada."))
    ask(ada_server, "Hi", session)
    assert ask(ada_server, "Hi", session)["content"] == "Again?"
    ask(ada_server, "I am Ada", other)
    assert ask(ada_server, "Hi", other)["content"] == "Hello."
    assert len(provider.calls) == 4


def test_users_do_not_share_cached_answers(ada_server: ChatServer, bob_server: ChatServer, provider: Provider) -> None:
    provider.script(answers("For Ada."), answers("For Bob."))
    assert [ask(server)["content"] for server in (ada_server, bob_server)] == ["For Ada.", "For Bob."]
    assert [ask(server)["content"] for server in (ada_server, bob_server)] == ["For Ada.", "For Bob."]
    assert len(provider.calls) == 2


def test_users_share_cached_answers_with_global_scope(
    settings: Settings, ada: User, bob: User, sql: Sql, redis: Redis, provider: Provider
) -> None:
    global_scope = settings.model_copy(update={"LLM_CACHE_TTL": 600, "LLM_CACHE_SCOPE": "global"})
    with TestClient(main.create(global_scope)) as client:
        responses = [
            client.post(f"{CHAT}/direct", json={"message": "Hi"}, headers=user.headers).json() for user in (ada, bob)
        ]
    assert [answer["metadata"]["cached"] for answer in responses] == [False, True]
    assert len(provider.calls) == 1


def test_cache_is_disabled_without_a_time_to_live(chat_client: TestClient, ada: User, provider: Provider) -> None:
    for _ in range(2):
        chat_client.post(f"{CHAT}/direct", json={"message": "Hi"}, headers=ada.headers)
    assert len(provider.calls) == 2


@pytest.mark.parametrize(
    ("is_streamed", "fault"),
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
    ada_server: ChatServer,
    redis: Redis,
    provider: Provider,
    fault: Callable[[Call, Wire], object],
    *,
    is_streamed: bool,
) -> None:
    provider.always(fault)  # type: ignore[arg-type] # a Behaviour
    send_question = (lambda: ada_server.ask_all(None)) if is_streamed else (lambda: ask(ada_server))
    send_question()
    assert not list(redis.scan_iter("answer:*"))
    provider.reset()
    send_question()
    assert len(provider.calls) == 1
