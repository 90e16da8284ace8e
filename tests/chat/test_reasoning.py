"""Reasoning of a model, which is not a part of the conversation: nowhere but in the metadata of its answer."""

import json
from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app import main
from app.config import Settings
from app.graph.prompts import summary_prompt, title_prompt
from tests.chat.search.helpers import search
from tests.chat.sharing.links import read, share
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, User
from tests.support.provider import Behaviour, Call, Provider, Wire, answers
from tests.support.waiting import wait_until

REASONING = "The user wants a platypus."
SETTINGS = {
    "LLM_TITLE_ENABLED": True,
    "LLM_TITLE_MAX_TOKENS": 50,
    "LLM_SUMMARY_ENABLED": True,
    "LLM_SUMMARY_MESSAGES": 2,
    "LLM_HISTORY_MESSAGES": 2,
    "LLM_CACHE_TTL": 60,
    "LLM_MAX_TOKENS": 1000,
}
NAMES = {title_prompt("")[0]["content"]: "title", summary_prompt([])[0]["content"]: "summary"}


def purpose(call: Call) -> str:
    return NAMES.get(call.messages[0]["content"], "answer")


def reasons(text: str = "An animal.", *, needs: int = 0) -> Behaviour:
    """Answer with reasoning; without an answer if fewer tokens are allowed than the reasoning needs."""

    async def behave(call: Call, wire: Wire) -> None:
        is_exhausted = call.body["max_tokens"] < needs
        message = {"content": "" if is_exhausted else f"<think>{REASONING}</think>\n\n{text}"}
        if is_exhausted:
            message["reasoning_content"] = REASONING
        choice = {"index": 0, "message": message, "finish_reason": "length" if is_exhausted else "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 10}
        await wire.json(200, {"model": "m", "choices": [choice], "usage": usage})

    return behave


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[TestClient]:
    with TestClient(main.create(settings.model_copy(update=SETTINGS))) as client:
        yield client


@pytest.fixture
def chat(service: TestClient, sql: Sql, redis: Redis, provider: Provider, ada: User) -> Chat:
    """Client of a service whose model writes summaries and titles."""
    return Chat(service, ada)


def wait_for(sql: Sql, name: str, count: int = 1) -> None:
    query = "SELECT count(*) FROM llm_calls WHERE purpose = %s AND status = 'ok'"
    wait_until(lambda: sql.value(query, [name]) >= count)


def test_reasoning_is_not_a_part_of_the_conversation(
    chat: Chat, provider: Provider, sql: Sql, index_texts: Callable[[], int]
) -> None:
    provider.always(reasons())
    session = chat.open()
    for number in range(4):
        answer = chat.ask(session, f"Question {number}?")["ai_response"]
        assert (answer["content"], answer["metadata"]["reasoning"]) == ("An animal.", REASONING)
    wait_for(sql, "title")
    wait_for(sql, "summary")
    assert "platypus" not in json.dumps([call.messages for call in provider.calls])
    shown = chat.request("GET", f"/sessions/{session}").json()
    assert shown["title"] == "An animal"
    assert all("platypus" not in row["content"] for row in sql.rows("SELECT content FROM chat_summaries"))
    index_texts()
    assert search(chat, "platypus") == []
    assert search(chat, "animal") != []
    assert "platypus" not in read(chat.client, share(chat, session)["token"]).text
    for name in ("md", "txt"):
        assert "platypus" not in chat.request("GET", f"/sessions/{session}/export?format={name}").text


def test_background_calls_give_a_reasoning_model_more_tokens(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.always(reasons("- It is about an animal.", needs=500))
    session = chat.open()
    for number in range(4):
        chat.ask(session, f"Question {number}?")
    wait_for(sql, "title")
    wait_for(sql, "summary", 2)
    limits = [(purpose(call), call.body["max_tokens"]) for call in provider.calls if purpose(call) != "answer"]
    # Only the first call of each purpose is made with the small limit.
    assert [limit for name, limit in limits if name == "title"] == [50, 1000]
    assert [limit for name, limit in limits if name == "summary"][:3] == [160, 1000, 1000]
    codes = sql.rows("SELECT error_code FROM llm_calls WHERE status = 'error'")
    assert {row["error_code"] for row in codes} == {"reasoning_exhausted"}


def test_background_calls_of_a_reasoning_model_do_not_exceed_the_limit_of_answers(
    settings: Settings, sql: Sql, redis: Redis, provider: Provider, ada: User
) -> None:
    async def behave(call: Call, wire: Wire) -> None:
        await reasons(needs=0 if purpose(call) == "answer" else 500)(call, wire)

    provider.always(behave)
    small = settings.model_copy(update=SETTINGS | {"LLM_MAX_TOKENS": 30, "LLM_FALLBACK_MODEL": ""})
    with TestClient(main.create(small)) as client:
        chat = Chat(client, ada)
        chat.ask(chat.open(), "Hi")
        wait_until(lambda: sql.value("SELECT count(*) FROM llm_calls WHERE purpose = 'title'") == 2)
    limits = [call.body["max_tokens"] for call in provider.calls if purpose(call) == "title"]
    assert limits == [30, 30]


def test_answer_that_reasoning_exhausted_is_asked_for_once(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.always(reasons(needs=5000), model="gpt-primary")
    provider.always(answers("From the fallback."), model="gpt-fallback")
    answer = chat.ask(chat.open(title="Test"), "Hi")["ai_response"]
    assert answer["content"] == "From the fallback."
    assert answer["metadata"]["fallback_reason"] == "reasoning_exhausted"
    assert sql.value("SELECT completion_tokens FROM llm_calls WHERE error_code IS NOT NULL") == 10


def test_cached_answer_has_no_reasoning(chat: Chat, provider: Provider) -> None:
    provider.always(reasons())
    first, second = (chat.ask(chat.open(title="Test"), "Hi")["ai_response"] for _ in range(2))
    assert first["metadata"]["reasoning"] == REASONING
    assert (second["content"], second["metadata"]["cached"]) == ("An animal.", True)
    assert "reasoning" not in second["metadata"]
