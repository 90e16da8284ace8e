"""Branches of a session: edited questions, other answers, pages and selection."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.chat.sessions.branch_requests import messages_of, regenerate, send, sent_texts, texts
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers, echoes, held
from tests.support.waiting import closed_gate

NOBODYS = str(uuid4())


def test_questions_follow_the_active_branch(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    first, second = send(chat, session, "Q1"), send(chat, session, "Q2")
    assert first["user_message"]["parent_id"] is None
    assert second["user_message"]["parent_id"] == first["ai_response"]["id"]
    assert second["ai_response"]["parent_id"] == second["user_message"]["id"]
    page = messages_of(chat, session)
    assert texts(page) == ["Q1", "A1", "Q2", "A2"]
    assert (page["has_older"], page["has_newer"]) == (False, False)
    assert [message["parent_id"] for message in page["messages"]][1:] == [
        message["id"] for message in page["messages"]
    ][:-1]


def test_edited_question_is_a_sibling_with_an_answer_and_history_of_its_own(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    first, second = send(chat, session, "Q1"), send(chat, session, "Q2")
    send(chat, session, "Q3")
    edited = send(chat, session, "Q2, edited", parent_id=first["ai_response"]["id"])
    assert sent_texts(numbered) == ["Q1", "A1", "Q2, edited"]
    page = messages_of(chat, session)
    assert texts(page) == ["Q1", "A1", "Q2, edited", "A4"]
    ids = [second["user_message"]["id"], edited["user_message"]["id"]]
    assert page["messages"][2]["siblings"] == {"index": 1, "count": 2, "ids": ids}
    assert page["messages"][0]["siblings"]["count"] == 1
    assert edited["session_updated"]["message_count"] == 8
    send(chat, session, "Q5")
    assert sent_texts(numbered) == ["Q1", "A1", "Q2, edited", "A4", "Q5"]


def test_edited_first_question_begins_the_conversation_anew(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    send(chat, session, "Q1")
    send(chat, session, "Q1, edited", parent_id=None)
    assert sent_texts(numbered) == ["Q1, edited"]
    page = messages_of(chat, session)
    assert texts(page) == ["Q1, edited", "A2"]
    assert page["messages"][0]["siblings"]["count"] == 2


def test_regenerated_answer_is_a_sibling_with_the_same_history(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    send(chat, session, "Q1")
    second = send(chat, session, "Q2", context={"tone": "casual"})
    again = regenerate(chat, session, second["ai_response"]["id"], temperature=0.9)
    assert sent_texts(numbered) == ["Q1", "A1", "Q2"]
    assert numbered.calls[-1].body["temperature"] == 0.9
    assert again["user_message"] == second["user_message"]
    assert again["ai_response"]["content"] == "A3"
    assert again["session_updated"]["message_count"] == 5
    page = messages_of(chat, session)
    assert texts(page) == ["Q1", "A1", "Q2", "A3"]
    assert page["messages"][3]["siblings"]["ids"] == [second["ai_response"]["id"], again["ai_response"]["id"]]
    by_question = regenerate(chat, session, second["user_message"]["id"])
    assert by_question["ai_response"]["content"] == "A4"


def test_selected_branch_goes_down_to_its_newest_end(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    first, second = send(chat, session, "Q1"), send(chat, session, "Q2")
    send(chat, session, "Q3")
    send(chat, session, "Q2, edited", parent_id=first["ai_response"]["id"])
    updated_at = chat.request("GET", f"/sessions/{session}").json()["updated_at"]
    response = chat.request("PUT", f"/sessions/{session}/active", json={"message_id": second["user_message"]["id"]})
    assert response.status_code == 200, response.text
    assert texts(response.json()) == texts(messages_of(chat, session)) == ["Q1", "A1", "Q2", "A2", "Q3", "A3"]
    detail = chat.request("GET", f"/sessions/{session}").json()
    assert [message["content"] for message in detail["messages"]] == ["Q1", "A1", "Q2", "A2", "Q3", "A3"]
    assert detail["updated_at"] == updated_at
    (listed,) = chat.request("GET", "/sessions").json()["sessions"]
    assert listed["last_message_preview"] == "A3"
    send(chat, session, "Q5")
    assert sent_texts(numbered) == ["Q1", "A1", "Q2", "A2", "Q3", "A3", "Q5"]


def test_pages_go_both_ways_over_the_active_branch(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.always(echoes())
    session = chat.open()
    turns = [send(chat, session, f"Q{number}") for number in range(5)]
    send(chat, session, "other", parent_id=turns[1]["ai_response"]["id"])
    chat.request("PUT", f"/sessions/{session}/active", json={"message_id": turns[4]["ai_response"]["id"]})
    whole = [message["id"] for message in messages_of(chat, session)["messages"]]
    assert whole == [message["id"] for turn in turns for message in (turn["user_message"], turn["ai_response"])]
    for limit in (1, 2, 3, 4, 10, 200):
        page = messages_of(chat, session, limit=limit)
        backward = [message["id"] for message in page["messages"]]
        while page["has_older"]:
            page = messages_of(chat, session, limit=limit, before=backward[0])
            assert page["has_newer"]
            backward = [message["id"] for message in page["messages"]] + backward
        assert backward == whole
        forward = whole[:1]
        while True:
            page = messages_of(chat, session, limit=limit, after=forward[-1])
            assert page["has_older"]
            assert len(page["messages"]) <= limit
            forward += [message["id"] for message in page["messages"]]
            if not page["has_newer"]:
                break
        assert forward == whole
    assert messages_of(chat, session, before=whole[0])["messages"] == []
    assert messages_of(chat, session, after=whole[-1]) == {"messages": [], "has_older": True, "has_newer": False}


def test_an_empty_session_has_an_empty_page(chat: Chat) -> None:
    assert messages_of(chat, chat.open()) == {"messages": [], "has_older": False, "has_newer": False}


@pytest.mark.parametrize("direction", ["before", "after"])
def test_a_cursor_that_is_not_on_the_active_branch_is_refused(chat: Chat, numbered: Provider, direction: str) -> None:
    session, other = chat.open(), chat.open()
    inactive = send(chat, session, "Q1")["ai_response"]["id"]
    send(chat, session, "Q1, edited", parent_id=None)
    foreign = send(chat, other, "Q1")["ai_response"]["id"]
    for message in (inactive, foreign, NOBODYS):
        response = chat.request("GET", f"/sessions/{session}/messages", params={direction: message})
        assert_problem(response, 422, "validation_error")
        assert response.json()["errors"][0]["field"] == f"query.{direction}"
    response = chat.request("GET", f"/sessions/{session}/messages", params={direction: "x"})
    assert response.status_code == 422


def test_before_and_after_cannot_be_combined(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    message = send(chat, session, "Q1")["ai_response"]["id"]
    response = chat.request("GET", f"/sessions/{session}/messages", params={"before": message, "after": message})
    assert response.status_code == 422


def test_a_page_costs_the_same_number_of_statements_however_long_the_branch_is(chat: Chat, provider: Provider) -> None:
    provider.always(echoes())
    session = chat.open()
    counts = []
    for _ in range(2):
        for number in range(3):
            send(chat, session, f"Q{number}")
        with counted_statements() as statements:
            messages_of(chat, session, limit=2)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_preview_is_that_of_the_branch_that_was_selected_during_the_answer(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    provider.script(answers("first"))
    first = send(chat, session, "Q1")
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate, answers("second")))
        asked = pool.submit(send, chat, session, "Q2", parent_id=None)
        provider.wait_for_calls(2)
        selected = {"message_id": first["ai_response"]["id"]}
        assert chat.request("PUT", f"/sessions/{session}/active", json=selected).is_success
        gate.set()
        assert asked.result()["ai_response"]["content"] == "second"
    (listed,) = chat.request("GET", "/sessions").json()["sessions"]
    assert listed["last_message_preview"] == "first"
