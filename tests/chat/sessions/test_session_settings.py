"""Changes of a session: title, context, model, archive, pin, tags."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app import main
from app.config import ModelSetting, Settings
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, User, assert_problem
from tests.support.provider import Provider, answers, echoes, fails, held
from tests.support.waiting import closed_gate


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[TestClient]:
    changes = {"LLM_MODELS": [ModelSetting(name="gpt-other")]}
    with TestClient(main.create(settings.model_copy(update=changes))) as client:
        yield client


@pytest.fixture
def chat(service: TestClient, sql: Sql, redis: Redis, provider: Provider, ada: User) -> Chat:
    return Chat(service, ada)


def change(chat: Chat, session: str, **fields: object) -> dict[str, Any]:
    response = chat.request("PATCH", f"/sessions/{session}", json=fields)
    assert response.status_code == 200, response.text
    return dict(response.json())


def listed(chat: Chat, **query: object) -> list[str]:
    response = chat.request("GET", "/sessions", params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    return [session["session_id"] for session in response.json()["sessions"]]


def test_every_field_is_changed_and_shown(chat: Chat) -> None:
    session = chat.open(title="old", context={"tone": "casual"})
    fields = {
        "title": "new",
        "context": {"tone": "professional"},
        "model": "gpt-other",
        "is_archived": True,
        "is_pinned": True,
        "tags": ["travel", "rome"],
    }
    changed = change(chat, session, **fields)
    assert fields.items() <= changed.items()
    shown = chat.request("GET", f"/sessions/{session}").json()
    assert changed.items() <= shown.items()
    (row,) = chat.request("GET", "/sessions", params={"archived": "true"}).json()["sessions"]
    assert {name: row[name] for name in fields if name != "context"} == {
        name: value for name, value in fields.items() if name != "context"
    }


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"title": "new"}, {"is_pinned": True, "tags": ["a"], "model": "gpt-other", "context": {"tone": "casual"}}),
        ({"model": None}, {"title": "old", "is_pinned": True, "model": None}),
        ({"tags": []}, {"title": "old", "tags": []}),
        ({"context": {}}, {"title": "old", "context": {}}),
    ],
)
def test_omitted_fields_are_not_changed(chat: Chat, fields: dict[str, object], kept: dict[str, object]) -> None:
    session = chat.open(title="old", context={"tone": "casual"})
    change(chat, session, model="gpt-other", is_pinned=True, tags=["a"])
    assert kept.items() <= change(chat, session, **fields).items()


def test_tags_are_normalized_and_unique(chat: Chat) -> None:
    session = chat.open()
    tags = ["Work", " work ", "To  Do", "cafe\u0301", "CAFÉ", "日本"]
    assert change(chat, session, tags=tags)["tags"] == ["work", "to do", "café", "日本"]
    assert listed(chat, tag="WORK") == listed(chat, tag="cafe\u0301") == [session]
    assert listed(chat, tag="wor") == []


def test_tags_are_compared_in_every_spelling(chat: Chat) -> None:
    session, other = chat.open(), chat.open()
    tags = ["Straße", "STRASSE", "οδος", "ΟΔΟΣ", "ＷＯＲＫ", "work"]
    assert change(chat, session, tags=tags)["tags"] == ["straße", "οδος", "work"]
    assert change(chat, other, tags=["strasse"])["tags"] == ["strasse"]
    for spelling in ("STRASSE", "straße", "STRA\u1e9eE"):
        assert set(listed(chat, tag=spelling)) == {session, other}
    for spelling in ("οδοσ", "ΟΔΟΣ", "Ｗork"):
        assert listed(chat, tag=spelling) == [session]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": None},
        {"title": ""},
        {"title": " \u200b "},
        {"title": "x" * 201},
        {"title": "a\x00b"},
        {"context": None},
        {"context": {"tone": "rude"}},
        {"model": "gpt-unknown"},
        {"model": ""},
        {"is_archived": "yes"},
        {"is_archived": None},
        {"is_pinned": 1},
        {"tags": None},
        {"tags": "work"},
        {"tags": [""]},
        {"tags": ["\u200b"]},
        {"tags": ["x" * 51]},
        {"tags": [f"tag {number}" for number in range(21)]},
        {"user_id": 1},
        {"title_source": "default"},
    ],
)
def test_invalid_changes_are_refused_and_change_nothing(chat: Chat, sql: Sql, body: dict[str, object]) -> None:
    session = chat.open(title="old")
    before = sql.rows("SELECT * FROM chat_sessions")
    body = {"is_pinned": True} | body if body else body
    assert_problem(chat.request("PATCH", f"/sessions/{session}", json=body), 422, "validation_error")
    assert sql.rows("SELECT * FROM chat_sessions") == before


def test_changes_do_not_move_the_session_in_the_list(chat: Chat) -> None:
    first, second = chat.open(), chat.open()
    before = chat.request("GET", f"/sessions/{first}").json()["updated_at"]
    assert change(chat, first, title="new", is_pinned=True)["updated_at"] == before
    assert listed(chat) == [second, first]


def test_archived_session_is_readable_and_refuses_questions(chat: Chat, sql: Sql, provider: Provider) -> None:
    session, other = chat.open(), chat.open()
    answer = chat.ask(session, "Hi")["ai_response"]["id"]
    change(chat, session, is_archived=True)
    asked = len(provider.calls)
    for path in ("messages", "messages/stream"):
        response = chat.request("POST", f"/sessions/{session}/{path}", json={"message": "Hi"})
        assert_problem(response, 409, "session_archived")
    assert len(provider.calls) == asked
    assert sql.value("SELECT count(*) FROM quota_reservations") == 0
    assert listed(chat) == listed(chat, archived=False) == [other]
    assert listed(chat, archived=True) == [session]
    assert len(chat.request("GET", f"/sessions/{session}").json()["messages"]) == 2
    assert "message.completed" in chat.request("GET", f"/sessions/{session}/messages/{answer}/events").text
    assert chat.request("POST", f"/sessions/{session}/messages/{answer}/cancel").json()["status"] == "complete"
    change(chat, session, is_archived=False)
    assert chat.ask(session, "Hi")["ai_response"]["status"] == "complete"
    change(chat, session, is_archived=True)
    assert chat.request("DELETE", f"/sessions/{session}").status_code == 200


def test_archived_session_refuses_further_answers_and_edited_questions(
    chat: Chat, sql: Sql, provider: Provider
) -> None:
    session = chat.open()
    turn = chat.ask(session, "Hi")
    question, answer = turn["user_message"]["id"], turn["ai_response"]["id"]
    change(chat, session, is_archived=True)
    asked = len(provider.calls)
    for path, body in (
        ("messages", {"message": "Hi", "parent_id": None}),
        ("messages", {"message": "Hi", "parent_id": answer}),
        ("messages/stream", {"message": "Hi", "parent_id": str(uuid4())}),
        (f"messages/{answer}/regenerate", {}),
        (f"messages/{question}/regenerate/stream", {}),
    ):
        response = chat.request("POST", f"/sessions/{session}/{path}", json=body)
        assert_problem(response, 409, "session_archived")
    assert len(provider.calls) == asked
    assert sql.value("SELECT count(*) FROM chat_messages") == 2


def test_everything_but_questions_works_in_an_archived_session(chat: Chat) -> None:
    session = chat.open()
    first = chat.ask(session, "Hi")["ai_response"]["id"]
    last = chat.ask(session, "And?", parent_id=None)["user_message"]["id"]
    change(chat, session, is_archived=True)
    for method, path, body in (
        ("GET", "messages", None),
        ("PUT", "active", {"message_id": first}),
        ("PUT", f"messages/{first}/feedback", {"rating": "up"}),
        ("DELETE", f"messages/{first}/feedback", None),
        ("POST", "share", {}),
        ("GET", "share", None),
        ("GET", "export", None),
        ("POST", "duplicate", {}),
        ("DELETE", f"messages/{last}", None),
        ("PATCH", "", {"is_pinned": True}),
    ):
        response = chat.request(method, f"/sessions/{session}/{path}".rstrip("/"), json=body)
        assert response.is_success, (method, path, response.text)
    shown = chat.request("GET", f"/sessions/{session}").json()
    assert (shown["is_archived"], shown["message_count"], len(shown["messages"])) == (True, 2, 2)


def test_archiving_does_not_stop_the_answer_under_way(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate, answers("Done.")))
        turn = pool.submit(chat.ask, session, "Hi")
        provider.wait_for_calls(1)
        change(chat, session, is_archived=True)
        gate.set()
        assert turn.result()["ai_response"]["content"] == "Done."


def test_model_of_the_session_answers_questions_that_name_none(chat: Chat, sql: Sql, provider: Provider) -> None:
    session = chat.open()
    change(chat, session, model="gpt-other")
    metadata = chat.ask(session, "Hi")["ai_response"]["metadata"]
    assert (metadata["model_requested"], metadata["model_used"]) == ("gpt-other", "gpt-other")
    assert chat.ask(session, "Hi", temperature=0.1)["ai_response"]["metadata"]["model_requested"] == "gpt-other"
    assert chat.ask(session, "Hi", model="gpt-primary")["ai_response"]["metadata"]["model_requested"] == "gpt-primary"
    chat.request("POST", f"/sessions/{session}/messages/stream", json={"message": "Hi"})
    models = [call.model for call in provider.calls]
    assert models == ["gpt-other", "gpt-other", "gpt-primary", "gpt-other"]
    assert provider.calls[1].body["temperature"] == 0.1
    answer = chat.ask(session, "Hi", model="gpt-primary")["ai_response"]["id"]
    again = chat.request("POST", f"/sessions/{session}/messages/{answer}/regenerate", json={}).json()
    assert again["ai_response"]["metadata"]["model_requested"] == "gpt-other"
    change(chat, session, model=None)
    assert chat.ask(session, "Hi")["ai_response"]["metadata"]["model_requested"] == "gpt-primary"
    assert sql.value("SELECT count(*) FROM llm_calls WHERE model_requested = 'gpt-other'") == 4


def test_fallback_follows_the_model_of_the_session(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    change(chat, session, model="gpt-other")
    provider.always(fails(400), model="gpt-other")
    metadata = chat.ask(session, "Hi")["ai_response"]["metadata"]
    assert (metadata["model_requested"], metadata["model_used"]) == ("gpt-other", "gpt-fallback")


def test_model_that_is_no_longer_allowed_is_not_used(chat: Chat, sql: Sql) -> None:
    session = chat.open()
    sql.do("UPDATE chat_sessions SET model = 'gpt-removed'")
    assert chat.ask(session, "Hi")["ai_response"]["metadata"]["model_requested"] == "gpt-primary"


def test_changed_context_applies_to_the_next_question(chat: Chat, provider: Provider) -> None:
    session = chat.open(context={"system_prompt": "You are a pirate."})
    provider.always(echoes())
    change(chat, session, context={"system_prompt": "You are a poet."})
    answer = chat.ask(session, "Hi")["ai_response"]["content"]
    assert "You are a poet." in answer
    assert "You are a pirate." not in answer


def test_running_answer_has_the_session_model_for_its_recovery(chat: Chat, sql: Sql, provider: Provider) -> None:
    session = chat.open()
    change(chat, session, model="gpt-other")
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate))
        turn = pool.submit(chat.ask, session, "Hi")
        provider.wait_for_calls(1)
        stored = sql.value("SELECT metadata FROM chat_messages WHERE status = 'pending'")
        gate.set()
        turn.result()
    assert stored == {"model_requested": "gpt-other"}
