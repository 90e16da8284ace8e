"""Turns: questions and answers, and their storage."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers, held
from tests.support.waiting import closed_gate


def test_question_and_answer_are_returned_and_stored(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    provider.script(answers("Hello Ada.", usage=(20, 5), model="gpt-primary-0613", first_after=0.05))
    started = time.monotonic()
    turn = chat.ask(session, "Hi", context={"place": "Rome"})
    elapsed = (time.monotonic() - started) * 1000
    question, answer = turn["user_message"], turn["ai_response"]
    assert (question["role"], question["content"], question["status"]) == ("user", "Hi", "complete")
    assert question["metadata"] == {"place": "Rome"}
    assert (answer["role"], answer["content"], answer["status"]) == ("assistant", "Hello Ada.", "complete")
    assert answer["parent_id"] == question["id"]
    assert answer["tokens_used"] == 25
    assert 50 <= answer["processing_time_ms"] <= elapsed
    assert answer["metadata"]["model_used"] == "gpt-primary-0613"
    assert answer["metadata"]["tokens_used"] == {"input": 20, "output": 5, "total": 25}
    assert "fallback" not in answer["metadata"]
    assert turn["session_updated"]["message_count"] == 2
    assert datetime.fromisoformat(answer["timestamp"]).utcoffset() is not None
    stored_question, stored_answer = chat.messages(session)
    assert stored_question == question
    assert stored_answer | {"timestamp": ""} == answer | {"timestamp": ""}


def test_direct_question_is_answered_and_not_stored(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.script(answers("Four.", usage=(9, 1)))
    response = chat.request("POST", "/direct", json={"message": "2 + 2?", "context": {"tone": "casual"}})
    assert response.status_code == 200
    answer = response.json()
    assert (answer["response"], answer["status"], answer["tokens_used"]) == ("Four.", "complete", 10)
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT session_id IS NULL AND prompt_tokens = 9 FROM llm_calls")


def test_session_deleted_during_a_turn_returns_404_and_its_cost_is_recorded(
    chat: Chat, provider: Provider, sql: Sql
) -> None:
    session = chat.open()
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.always(held(gate))
        future = pool.submit(chat.request, "POST", f"/sessions/{session}/messages", json={"message": "Hi"})
        provider.wait_for_calls(1)
        assert chat.request("DELETE", f"/sessions/{session}").status_code == 200
        gate.set()
        assert_problem(future.result(), 404, "not_found")
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT count(*) FROM llm_calls WHERE prompt_tokens > 0") == 1


def test_nul_in_an_answer_is_removed(chat: Chat, provider: Provider) -> None:
    provider.script(answers("a\x00b"))
    assert chat.ask(chat.open(), "Hi")["ai_response"]["content"] == "ab"
