"""Idempotent requests: a request with an `Idempotency-Key` runs once and returns the same response each time."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app import main
from app.config import Settings
from tests.chat.idempotency.idempotent_requests import (
    KEY,
    ROUTES,
    assert_replayed,
    post,
    request_for,
    uses_idempotency_keys,
)
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers, fails, held
from tests.support.waiting import closed_gate, wait_until


@pytest.mark.parametrize("route", ROUTES)
def test_repeated_request_runs_once_and_returns_identical_bytes(
    chat: Chat, provider: Provider, sql: Sql, route: str
) -> None:
    path, body = request_for(chat, route)
    first = post(chat, path, body)
    assert first.is_success
    made = sql.rows("SELECT (SELECT count(*) FROM chat_sessions), (SELECT count(*) FROM chat_messages)")
    calls = len(provider.calls)
    for _ in range(3):
        assert_replayed(post(chat, path, body), first)
    assert len(provider.calls) == calls
    assert sql.rows("SELECT (SELECT count(*) FROM chat_sessions), (SELECT count(*) FROM chat_messages)") == made


@pytest.mark.parametrize("route", ROUTES)
def test_response_with_a_key_has_the_same_shape_as_without(chat: Chat, route: str) -> None:
    path, body = request_for(chat, route)
    with_key = post(chat, path, body)
    without = chat.request("POST", path, json=body)
    assert with_key.status_code == without.status_code
    assert shape(with_key.json()) == shape(without.json())
    assert with_key.headers["Content-Type"] == without.headers["Content-Type"]


def shape(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if not isinstance(value, dict):
        return type(value)
    # The first question of a session has no parent, the others have.
    return {name: shape(item) for name, item in value.items() if name != "parent_id"}


@pytest.mark.parametrize("route", ROUTES)
def test_stored_response_survives_a_restart_and_an_emptied_redis(
    chat: Chat, settings: Settings, redis: Redis, provider: Provider, route: str
) -> None:
    path, body = request_for(chat, route)
    first = post(chat, path, body)
    calls = len(provider.calls)
    redis.flushall()
    with TestClient(main.create(settings)) as restarted:
        assert_replayed(post(Chat(restarted, chat.user), path, body), first)
    assert len(provider.calls) == calls


@pytest.mark.parametrize("route", ROUTES)
def test_same_key_with_another_body_is_refused(chat: Chat, provider: Provider, route: str) -> None:
    path, body = request_for(chat, route)
    first = post(chat, path, body)
    calls = len(provider.calls)
    assert_problem(post(chat, path, body | {"context": {"other": True}}), 422, "idempotency_key_reused")
    assert len(provider.calls) == calls
    assert_replayed(post(chat, path, body), first)


def test_keys_are_separate_for_each_user_route_and_case(chat: Chat, others_chat: Chat, provider: Provider) -> None:
    body = {"message": "Hi"}
    paths = ["/direct", *(f"/sessions/{chat.open()}/messages" for _ in range(2))]
    responses = [post(chat, path, body) for path in paths]
    responses += [post(others_chat, "/direct", body), post(chat, "/direct", body, key=KEY.upper())]
    assert [response.status_code for response in responses] == [200] * 5
    assert len(provider.calls) == 5
    assert_problem(post(others_chat, paths[1], body), 404, "not_found")


def test_spelling_of_the_session_id_does_not_change_the_request(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    spellings = [session, session.upper(), session.replace("-", ""), f"{{{session}}}", f"urn:uuid:{session}"]
    bodies = {post(chat, f"/sessions/{spelling}/messages", {"message": "Hi"}).content for spelling in spellings}
    assert len(bodies) == len(provider.calls) == 1


def test_refused_request_does_not_use_up_its_key(chat: Chat, provider: Provider, sql: Sql) -> None:
    session = chat.open()
    path, body = f"/sessions/{session}/messages", {"message": "Hi"}
    assert_problem(post(chat, path, {"message": ""}), 422, "validation_error")
    chat.request("PATCH", f"/sessions/{session}", json={"is_archived": True})
    assert_problem(post(chat, path, body), 409, "session_archived")
    chat.request("PATCH", f"/sessions/{session}", json={"is_archived": False})
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate))
        other = pool.submit(chat.ask, session, "Something else")
        provider.wait_for_calls(1)
        assert_problem(post(chat, path, body), 409, "turn_active")
        gate.set()
        other.result()
    first = post(chat, path, body)
    assert first.json()["ai_response"]["status"] == "complete"
    assert_replayed(post(chat, path, body), first)


def test_failed_answer_is_stored_and_replayed(chat: Chat, provider: Provider) -> None:
    path, body = request_for(chat, "/sessions/{id}/messages")
    provider.always(fails(401))
    first = post(chat, path, body)
    assert first.json()["ai_response"]["status"] == "failed"
    provider.always(answers("Hello."))
    assert_replayed(post(chat, path, body), first)


@pytest.mark.parametrize("route", ROUTES)
def test_key_adds_exactly_one_sql_statement(chat: Chat, route: str) -> None:
    path, body = request_for(chat, route)
    with counted_statements() as without:
        assert chat.request("POST", path, json=body).is_success
    with counted_statements() as with_key:
        assert post(chat, path, body).is_success
    assert not [statement for statement in without if uses_idempotency_keys(statement)]
    assert len(with_key) == len(without) + 1


@pytest.mark.parametrize("path", ["/messages", "/messages/stream"])
@pytest.mark.parametrize("parent", ["SELECT gen_random_uuid()", "SELECT uuid FROM chat_messages WHERE role = 'user'"])
def test_refused_place_of_a_question_leaves_no_key(chat: Chat, sql: Sql, path: str, parent: str) -> None:
    session_id = chat.open()
    answer_id = chat.ask(session_id, "Hi")["ai_response"]["id"]
    path = f"/sessions/{session_id}{path}"
    for _ in range(2):
        body = {"message": "Why?", "parent_id": str(sql.value(parent))}
        assert_problem(post(chat, path, body), 422, "validation_error")
        assert sql.value("SELECT count(*) FROM idempotency_keys") == 0
    assert post(chat, path, {"message": "Why?", "parent_id": answer_id}).is_success


def test_key_of_a_question_survives_that_the_end_of_the_branch_changes(chat: Chat, sql: Sql, database_url: str) -> None:
    session_id = chat.open()
    chat.ask(session_id, "Hi")
    path, body = f"/sessions/{session_id}/messages", {"message": "Why?"}
    with ThreadPoolExecutor(1) as pool, closing(psycopg2.connect(database_url)) as other, other.cursor() as cursor:
        cursor.execute(
            "UPDATE chat_sessions SET last_seq = 3, message_count = 3;"
            " INSERT INTO chat_messages (uuid, session_id, seq, parent_id, role, content, status)"
            " SELECT gen_random_uuid(), session_id, 3, id, 'user', 'And?', 'complete' FROM chat_messages WHERE seq = 2"
        )
        response = pool.submit(post, chat, path, body)
        wait_until(lambda: sql.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        other.commit()
        first = response.result(60)
    assert first.is_success, first.text
    assert_replayed(post(chat, path, body), first)
    assert sql.value("SELECT count(*) FROM chat_messages") == 5
