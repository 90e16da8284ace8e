"""Feedback on answers."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from httpx2 import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers, fails, held

DOWN = {"rating": "down", "reasons": ["too_long", "inaccurate"], "comment": " No. "}


@pytest.fixture
def answer(chat: Chat) -> tuple[str, str]:
    """Ids of a session of Ada and of its only answer."""
    session = chat.open()
    return session, chat.ask(session, "Hi")["ai_response"]["id"]


def rate(chat: Chat, answer: tuple[str, str], **feedback: object) -> Response:
    session, message = answer
    return chat.request("PUT", f"/sessions/{session}/messages/{message}/feedback", json=feedback)


def withdraw(chat: Chat, answer: tuple[str, str]) -> Response:
    session, message = answer
    return chat.request("DELETE", f"/sessions/{session}/messages/{message}/feedback")


def shown(chat: Chat, answer: tuple[str, str]) -> Any:  # noqa: ANN401 - JSON
    messages = chat.request("GET", f"/sessions/{answer[0]}").json()["messages"]
    return {message["id"]: message["feedback"] for message in messages}[answer[1]]


def counts(sql: Sql) -> dict[tuple[str, str], int]:
    rows = sql.rows("SELECT rating, reason, sum(ratings)::int AS n FROM feedback_quarters GROUP BY rating, reason")
    return {(row["rating"], row["reason"]): row["n"] for row in rows if row["n"]}


def test_feedback_is_stored_and_shown_with_its_answer(chat: Chat, answer: tuple[str, str]) -> None:
    assert shown(chat, answer) is None
    response = rate(chat, answer, **DOWN)
    assert response.status_code == 200, response.text
    stored = response.json()
    assert stored.items() >= {"rating": "down", "reasons": ["inaccurate", "too_long"], "comment": "No."}.items()
    assert stored["created_at"] == stored["updated_at"]
    assert shown(chat, answer) == stored
    session, message = answer
    cancelled = chat.request("POST", f"/sessions/{session}/messages/{message}/cancel").json()
    assert cancelled["feedback"] == stored


def test_change_replaces_all_fields(chat: Chat, answer: tuple[str, str], sql: Sql) -> None:
    first = rate(chat, answer, **DOWN).json()
    changed = rate(chat, answer, rating="up").json()
    assert (changed["rating"], changed["reasons"], changed["comment"]) == ("up", [], None)
    assert changed["created_at"] == first["created_at"]
    assert changed["updated_at"] > first["updated_at"]
    assert counts(sql) == {("up", ""): 1, ("up", "unspecified"): 1}


def test_repeated_feedback_and_withdrawal_change_nothing(chat: Chat, answer: tuple[str, str], sql: Sql) -> None:
    subscribe(sql)
    first = rate(chat, answer, **DOWN).json()
    assert rate(chat, answer, **DOWN | {"reasons": ["inaccurate", "too_long"]}).json() == first
    assert [event["rating"] for event in events(sql)] == ["down"]
    for _ in range(2):
        assert withdraw(chat, answer).json() == {"message": "Feedback withdrawn."}
    assert shown(chat, answer) is None
    assert [event["rating"] for event in events(sql)] == [None]
    assert counts(sql) == {}


def subscribe(sql: Sql) -> None:
    sql.do("INSERT INTO webhook_endpoints (uuid, url, events) VALUES (gen_random_uuid(), 'https://x.example', '{*}')")


def events(sql: Sql) -> list[dict[str, Any]]:
    """Return the data of the recorded events of feedback, oldest first, and delete them."""
    rows = sql.rows("DELETE FROM webhook_deliveries WHERE type = 'feedback.changed' RETURNING id, data")
    return [row["data"] for row in sorted(rows, key=lambda row: row["id"])]


def test_event_contains_rating_and_reasons_without_comment(chat: Chat, answer: tuple[str, str], sql: Sql) -> None:
    subscribe(sql)
    rate(chat, answer, **DOWN | {"comment": "canary7f3a"})
    rate(chat, answer, rating="up")
    ids = {"session_id": answer[0], "message_id": answer[1], "user_id": chat.user.id}
    first = {"rating": "down", "previous_rating": None, "reasons": ["inaccurate", "too_long"], "has_comment": True}
    second = {"rating": "up", "previous_rating": "down", "reasons": [], "has_comment": False}
    assert events(sql) == [ids | first, ids | second]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rating": "good"},
        {"rating": None},
        {"rating": "down", "reasons": ["helpful"]},
        {"rating": "up", "reasons": ["inaccurate"]},
        {"rating": "down", "reasons": ["style", "style"]},
        {"rating": "down", "reasons": ["free text"]},
        {"rating": "down", "reasons": [""]},
        {"rating": "down", "reasons": "style"},
        {"rating": "down", "comment": ""},
        {"rating": "down", "comment": " \u200b"},
        {"rating": "down", "comment": "x" * 2001},
        {"rating": "down", "comment": "a\x00b"},
        {"rating": "down", "model": "m"},
    ],
)
def test_invalid_feedback_is_refused_and_changes_nothing(
    chat: Chat, answer: tuple[str, str], sql: Sql, body: dict[str, object]
) -> None:
    rate(chat, answer, **DOWN)
    before = sql.everything()["message_feedback"], counts(sql)
    assert_problem(rate(chat, answer, **body), 422, "validation_error")
    assert (sql.everything()["message_feedback"], counts(sql)) == before


def test_question_cannot_be_rated(chat: Chat, sql: Sql) -> None:
    session = chat.open()
    question = session, chat.ask(session, "Hi")["user_message"]["id"]
    assert_problem(rate(chat, question, rating="up"), 422, "not_an_answer")
    assert_problem(withdraw(chat, question), 422, "not_an_answer")
    assert sql.value("SELECT count(*) FROM message_feedback") == 0


def test_answer_in_progress_cannot_be_rated(chat: Chat, sql: Sql, provider: Provider) -> None:
    session, gate = chat.open(), threading.Event()
    provider.script(held(gate, answers("Yes.")))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(chat.ask, session, "Hi")
        provider.wait_for_calls(1)
        message = chat.request("GET", f"/sessions/{session}").json()["messages"][-1]
        refused = assert_problem(rate(chat, (session, message["id"]), rating="up"), 409, "turn_active")
        assert refused["message_id"] == message["id"]
        gate.set()
        answered = asked.result()["ai_response"]["id"]
    assert sql.value("SELECT count(*) FROM message_feedback") == 0
    assert rate(chat, (session, answered), rating="up").status_code == 200


def test_failed_answer_can_be_rated(chat: Chat, provider: Provider) -> None:
    provider.script(fails(400), fails(400))
    session = chat.open()
    failed = chat.ask(session, "Hi")["ai_response"]
    assert failed["status"] == "failed"
    assert rate(chat, (session, failed["id"]), rating="down", reasons=["other"]).status_code == 200


def test_answer_of_another_session_is_not_found(chat: Chat, others_chat: Chat, answer: tuple[str, str]) -> None:
    for client, ids in ((chat, (chat.open(), answer[1])), (others_chat, answer)):
        assert_problem(rate(client, ids, rating="up"), 404, "not_found")
        assert_problem(withdraw(client, ids), 404, "not_found")


def test_feedback_is_counted_for_the_model_of_the_last_attempt(
    chat: Chat, answer: tuple[str, str], sql: Sql, provider: Provider
) -> None:
    rate(chat, answer, rating="up")
    provider.script(fails(400), answers("From the other model."))
    session = chat.open()
    rate(chat, (session, chat.ask(session, "Hi")["ai_response"]["id"]), rating="down")
    sql.do('UPDATE chat_messages SET uuid = gen_random_uuid(), metadata = \'{"model_requested": "invented"}\'')
    copied = sql.value("SELECT uuid::text FROM chat_messages WHERE role = 'assistant' ORDER BY id LIMIT 1")
    sql.do("DELETE FROM message_feedback")
    rate(chat, (answer[0], copied), rating="up")
    models = sql.rows("SELECT model, rating, ratings FROM feedback_quarters WHERE reason = '' ORDER BY model")
    assert [tuple(row.values()) for row in models] == [
        ("", "up", 1),  # an answer without ledger entries, as a copied one
        ("gpt-fallback", "down", 1),
        ("gpt-primary", "up", 1),
    ]


def test_deletion_of_the_session_deletes_the_comment_and_keeps_the_counts(
    chat: Chat, answer: tuple[str, str], sql: Sql
) -> None:
    rate(chat, answer, **DOWN | {"comment": "canary7f3a"})
    assert "canary7f3a" in "".join(sql.everything().values())
    assert chat.request("DELETE", f"/sessions/{answer[0]}").status_code == 200
    assert "canary7f3a" not in "".join(sql.everything().values())
    assert sql.value("SELECT count(*) FROM message_feedback") == 0
    assert counts(sql) == {("down", ""): 1, ("down", "inaccurate"): 1, ("down", "too_long"): 1}


def test_each_version_of_an_answer_has_its_own_feedback(chat: Chat, answer: tuple[str, str], sql: Sql) -> None:
    session, first = answer
    rate(chat, answer, **DOWN)
    second = chat.request("POST", f"/sessions/{session}/messages/{first}/regenerate", json={}).json()["ai_response"]
    assert second["feedback"] is None
    rate(chat, (session, second["id"]), rating="up")
    for message, rating in ((first, "down"), (second["id"], "up")):
        page = chat.request("PUT", f"/sessions/{session}/active", json={"message_id": message}).json()
        assert page["messages"][-1]["feedback"]["rating"] == rating
    assert chat.request("DELETE", f"/sessions/{session}/messages/{first}").status_code == 200
    assert sql.rows("SELECT rating FROM message_feedback") == [{"rating": "up"}]
    assert counts(sql)["down", ""] == 1


def test_number_of_sql_statements_does_not_grow_with_the_feedback(chat: Chat) -> None:
    session, numbers = chat.open(), []
    for _ in range(3):
        rate(chat, (session, chat.ask(session, "Hi")["ai_response"]["id"]), rating="up")
        with counted_statements() as statements:
            chat.request("GET", f"/sessions/{session}")
        numbers.append(len(statements))
    assert len(set(numbers)) == 1


def test_concurrent_feedback_is_counted_once(chat: Chat, answer: tuple[str, str], sql: Sql) -> None:
    bodies = [DOWN, {"rating": "up"}, {"rating": "up", "reasons": ["clear", "other"]}, {"rating": "down"}] * 3
    with ThreadPoolExecutor(6) as pool:
        responses = list(pool.map(lambda body: rate(chat, answer, **body), bodies))
    assert {response.status_code for response in responses} == {200}
    final = shown(chat, answer)
    assert counts(sql) == {(final["rating"], reason): 1 for reason in ["", *(final["reasons"] or ["unspecified"])]}


OPERATIONS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.none()
        | st.fixed_dictionaries(
            {
                "rating": st.just("down"),
                "reasons": st.lists(st.sampled_from(["style", "unsafe", "other"]), unique=True),
                "comment": st.sampled_from([None, "No."]),
            }
        )
        | st.just({"rating": "up"}),
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_counts_equal_the_stored_feedback(chat: Chat, sql: Sql, operations: list[tuple[int, Any]]) -> None:
    sql.do("DELETE FROM message_feedback; DELETE FROM feedback_quarters")
    session = chat.open()
    ids = [chat.ask(session, "Hi")["ai_response"]["id"] for _ in range(3)]
    reference: dict[int, Any] = {}
    for number, body in operations:
        if body is None:
            reference.pop(number, None)
            assert withdraw(chat, (session, ids[number])).status_code == 200
        else:
            reference[number] = body
            assert rate(chat, (session, ids[number]), **body).status_code == 200
    expected = Counter(
        (body["rating"], reason)
        for body in reference.values()
        for reason in ["", *(body.get("reasons") or ["unspecified"])]
    )
    assert counts(sql) == dict(expected)
    for number, message in enumerate(ids):
        stored = shown(chat, (session, message))
        assert (stored and stored["rating"]) == (reference.get(number) and reference[number]["rating"])
