"""Turns: questions and answers, history, context, fallback and failures."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import main
from app.chat.summaries.summarizer import Summarizer
from app.config import DEFAULT_SYSTEM_PROMPT, ModelSetting, Settings
from app.graph.prompts import FALLBACK_RESPONSE
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, User, assert_problem
from tests.support.provider import Behaviour, Provider, answers, echoes, fails, held, resets, sends, stalls
from tests.support.waiting import closed_gate, wait_until


def stored_messages(chat: Chat, session: str) -> list[dict[str, Any]]:
    return list(chat.request("GET", f"/sessions/{session}").json()["messages"])


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
    stored_question, stored_answer = stored_messages(chat, session)
    assert stored_question == question
    assert stored_answer | {"timestamp": ""} == answer | {"timestamp": ""}


def test_history_is_sent_to_the_model(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    provider.script(answers("Hello Ada."), echoes())
    chat.ask(session, "My name is Ada.")
    turn = chat.ask(session, "What is my name?")
    assert provider.calls[1].messages[1:] == [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": "What is my name?"},
    ]
    assert "My name is Ada." in turn["ai_response"]["content"]
    assert turn["ai_response"]["metadata"]["history_messages"] == 2


def test_at_most_ten_history_messages_are_sent(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    for number in range(7):
        chat.ask(session, f"question {number}")
    history = provider.calls[-1].messages[1:-1]
    assert len(history) == 10
    assert history[0]["content"] == "question 1"
    assert history[-1] == {"role": "assistant", "content": "Hello."}


def test_history_contains_only_messages_of_the_session(chat: Chat, others_chat: Chat, provider: Provider) -> None:
    chat.ask(chat.open(), "canary")
    chat.ask(chat.open(), "Hi")
    others_chat.ask(others_chat.open(), "Hi")
    for call in provider.calls[1:]:
        assert len(call.messages) == 2
        assert "canary" not in str(call.body)


def test_tone_of_the_question_overrides_that_of_the_session(chat: Chat, provider: Provider) -> None:
    session = chat.open(context={"tone": "professional"})
    chat.ask(session, "Hi")
    chat.ask(session, "Hi", context={"tone": "casual"})
    chat.ask(session, "Hi", context={"other": 1})
    prompts = [call.messages[0]["content"] for call in provider.calls]
    assert "professional" in prompts[0]
    assert "friendly" in prompts[1]
    assert prompts[2] == prompts[0]


def test_plain_request_neither_streams_nor_identifies_the_user(chat: Chat, provider: Provider) -> None:
    chat.ask(chat.open(), "Hi")
    (call,) = provider.calls
    assert call.body.keys() == {"model", "messages", "max_tokens", "temperature"}
    assert chat.user.email not in str(call.body)
    assert chat.user.access_token not in str(call.headers)


def test_direct_question_is_answered_and_not_stored(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.script(answers("Four.", usage=(9, 1)))
    response = chat.request("POST", "/direct", json={"message": "2 + 2?", "context": {"tone": "casual"}})
    assert response.status_code == 200
    answer = response.json()
    assert (answer["response"], answer["status"], answer["tokens_used"]) == ("Four.", "complete", 10)
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT session_id IS NULL AND prompt_tokens = 9 FROM llm_calls")


def test_fallback_model_answers_when_the_primary_model_fails(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.always(fails(503, retry_after="0"), model="gpt-primary")
    provider.script(answers("Hello.", usage=(7, 2)), model="gpt-fallback")
    answer = chat.ask(chat.open(), "Hi")["ai_response"]
    assert (answer["content"], answer["status"]) == ("Hello.", "complete")
    assert answer["metadata"]["fallback_model"] is True
    assert answer["metadata"]["model_used"] == "gpt-fallback"
    assert [call.model for call in provider.calls] == ["gpt-primary", "gpt-primary", "gpt-fallback"]
    ledger = sql.rows("SELECT attempt, model_requested, status, error_code, is_fallback, prompt_tokens FROM llm_calls")
    assert [tuple(row.values()) for row in ledger] == [
        (1, "gpt-primary", "error", "provider_error", False, 0),
        (2, "gpt-primary", "error", "provider_error", False, 0),
        (3, "gpt-fallback", "ok", None, True, 7),
    ]


@pytest.fixture(scope="module")
def short_timeout_service(settings: Settings) -> Iterator[TestClient]:
    """Chat service with an attempt timeout of two seconds and without retries."""
    limits = {"LLM_ATTEMPT_TIMEOUT": 2, "LLM_TURN_TIMEOUT": 10, "LLM_RETRIES_PER_MODEL": 0}
    with TestClient(main.create(settings.model_copy(update=limits))) as client:
        yield client


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        pytest.param(fails(500, retry_after="0"), "provider_error", id="500"),
        pytest.param(fails(429, retry_after="0"), "provider_rate_limited", id="429"),
        pytest.param(fails(401), "provider_rejected", id="401"),
        pytest.param(resets(), "provider_unreachable", id="reset"),
        pytest.param(stalls(), "provider_timeout", id="stalled"),
        pytest.param(answers("Hello.", cut_after=40), "provider_unreachable", id="cut"),
        pytest.param(answers("Hello.", finish_reason=None), "provider_bad_response", id="no finish reason"),
        pytest.param(sends(b"{"), "provider_bad_response", id="broken json"),
        pytest.param(sends(b'{"a": "\xff"}'), "provider_bad_response", id="broken utf-8"),
    ],
)
def test_failed_answer_is_returned_and_stored_and_does_not_block_the_session(
    chat: Chat, short_timeout_service: TestClient, provider: Provider, sql: Sql, behaviour: Behaviour, code: str
) -> None:
    session = chat.open()
    provider.always(behaviour)
    asker = Chat(short_timeout_service, chat.user) if code == "provider_timeout" else chat
    started = time.monotonic()
    turn = asker.ask(session, "Hi")
    assert time.monotonic() - started < 30  # less than the default deadline of a turn
    answer = turn["ai_response"]
    assert (answer["status"], answer["content"]) == ("failed", FALLBACK_RESPONSE)
    assert answer["metadata"]["fallback"] is True
    assert answer["metadata"]["error"] == code
    assert "provider detail" not in str(turn)
    assert stored_messages(chat, session)[1]["status"] == "failed"
    assert sql.value("SELECT count(*) FROM llm_calls WHERE status = 'error'") == len(provider.calls)

    provider.always(answers("Back again."))
    answer = chat.ask(session, "And now?")["ai_response"]
    assert (answer["status"], answer["content"]) == ("complete", "Back again.")
    # Fallback messages are not part of the history.
    assert FALLBACK_RESPONSE not in str(provider.calls[-1].body)


def test_concurrent_questions_in_a_session_are_refused(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    with ThreadPoolExecutor(20) as pool, closed_gate() as gate:
        provider.always(held(gate))
        asked = [
            pool.submit(chat.request, "POST", f"/sessions/{session}/messages", json={"message": f"question {number}"})
            for number in range(20)
        ]
        wait_until(lambda: sum(one.done() for one in asked) == 19)
        gate.set()
        responses = [future.result() for future in asked]
    answered = [response for response in responses if response.status_code == 200]
    assert len(answered) == 1
    assert len(provider.calls) == 1
    for response in responses:
        if response is not answered[0]:
            problem = assert_problem(response, 409, "turn_active")
            assert problem["message_id"] == answered[0].json()["ai_response"]["id"]
    assert [message["status"] for message in stored_messages(chat, session)] == ["complete", "complete"]


def test_sessions_are_answered_concurrently(chat: Chat, provider: Provider) -> None:
    sessions = [chat.open() for _ in range(10)]
    with ThreadPoolExecutor(10) as pool, closed_gate() as gate:
        provider.always(held(gate))
        asked = [pool.submit(chat.ask, session, "Hi") for session in sessions]
        provider.wait_for_calls(10)
        gate.set()
        assert {one.result()["ai_response"]["status"] for one in asked} == {"complete"}


def test_no_connection_is_held_while_a_model_answers(
    settings: Settings, chat_client: TestClient, ada: User, provider: Provider
) -> None:
    single = settings.model_copy(update={"DATABASE_POOL_SIZE": 1, "DATABASE_MAX_OVERFLOW": 0})
    with TestClient(main.create(single)) as client, ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.always(held(gate))
        chat = Chat(client, ada)
        asked = pool.submit(chat.ask, chat.open(), "Hi")
        provider.wait_for_calls(1)
        assert chat.request("GET", "/sessions").status_code == 200
        assert not asked.done()
        gate.set()
        assert asked.result()["ai_response"]["status"] == "complete"


@pytest.mark.parametrize("tone", [["casual"], {}], ids=["list", "object"])
def test_tone_that_is_not_text_is_refused(chat: Chat, tone: object) -> None:
    for path in ("/direct", f"/sessions/{chat.open()}/messages"):
        assert_problem(chat.request("POST", path, json={"message": "Hi", "context": {"tone": tone}}), 422)
    assert_problem(chat.request("POST", "/sessions", json={"context": {"tone": tone}}), 422)


def test_turn_of_a_dead_process_does_not_block_its_session(chat: Chat, sql: Sql) -> None:
    session = chat.open()
    chat.ask(session, "Hi")
    sql.do(
        "UPDATE chat_messages SET status = 'pending', lease_expires_at = now() - interval '1 second'"
        " WHERE role = 'assistant'"
    )
    assert chat.ask(session, "Still there?")["ai_response"]["status"] == "complete"
    assert [message["status"] for message in stored_messages(chat, session)] == [
        "complete",
        "interrupted",
        "complete",
        "complete",
    ]


def test_session_deleted_during_a_turn_returns_404_and_its_cost_is_recorded(
    chat: Chat, provider: Provider, sql: Sql
) -> None:
    session = chat.open()
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.always(held(gate))
        asked = pool.submit(chat.request, "POST", f"/sessions/{session}/messages", json={"message": "Hi"})
        provider.wait_for_calls(1)
        assert chat.request("DELETE", f"/sessions/{session}").status_code == 200
        gate.set()
        assert_problem(asked.result(), 404, "not_found")
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT count(*) FROM llm_calls WHERE prompt_tokens > 0") == 1


def test_nul_in_an_answer_is_removed(chat: Chat, provider: Provider) -> None:
    provider.script(answers("a\x00b"))
    assert chat.ask(chat.open(), "Hi")["ai_response"]["content"] == "ab"


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(answers("Hello.", model="a\x00b"), id="nul in the model's name"),
        pytest.param(answers("Hello.", model="a\ud800b"), id="surrogate in the model's name"),
        pytest.param(answers("Hello.", finish_reason="a\x00b"), id="nul in the finish reason"),
    ],
)
def test_unstorable_metadata_of_an_answer_does_not_block_the_session(
    chat: Chat, provider: Provider, behaviour: Behaviour
) -> None:
    session = chat.open()
    provider.script(behaviour)
    chat.ask(session, "Hi")
    assert chat.ask(session, "Hi again")["ai_response"]["status"] == "complete"


@pytest.mark.parametrize(
    "context",
    [
        {"tone": "rude"},
        {"tone": ["casual"]},
        {"language": "German, please"},
        {"language": 1},
        {"system_prompt": ""},
        {"system_prompt": "  "},
        {"system_prompt": "x" * 4001},
        {"system_prompt": {"text": "Be brief."}},
    ],
    ids=str,
)
def test_invalid_context_is_refused(chat: Chat, provider: Provider, context: dict[str, Any]) -> None:
    session = chat.open()
    for path, body in (("/sessions", {}), (f"/sessions/{session}/messages", {"message": "Hi"})):
        problem = assert_problem(chat.request("POST", path, json=body | {"context": context}), 422, "validation_error")
        assert problem["errors"][0]["field"] == "body.context"
        assert next(iter(context)) in problem["errors"][0]["message"]
    assert provider.calls == []


def test_service_instructions_precede_session_instructions(chat: Chat, provider: Provider) -> None:
    session = chat.open(context={"system_prompt": "Answer in one sentence.", "language": "de", "place": "Rome"})
    answer = chat.ask(session, "Hi")["ai_response"]
    chat.ask(session, "Hi", context={"system_prompt": "Answer in verse."})
    instructions = [call.messages[0]["content"] for call in provider.calls]
    assert instructions[0].startswith(DEFAULT_SYSTEM_PROMPT)
    assert instructions[0].endswith("code de. Answer in one sentence.")
    assert instructions[1].startswith(DEFAULT_SYSTEM_PROMPT)
    assert instructions[1].endswith("code de. Answer in verse.")
    # The metadata omits `system_prompt`, and returns the other fields unchanged.
    assert answer["metadata"]["context"] == {"language": "de", "place": "Rome"}


def test_system_prompt_is_configurable(settings: Settings, chat: Chat, provider: Provider) -> None:
    own = settings.model_copy(update={"LLM_SYSTEM_PROMPT": "You are a pirate."})
    with TestClient(main.create(own)) as service:
        theirs = Chat(service, chat.user)
        theirs.ask(theirs.open(context={"tone": "casual"}), "Hi")
    assert provider.calls[0].messages[0]["content"].startswith("You are a pirate. ")


@pytest.fixture
def small_window_chat(settings: Settings, chat: Chat) -> Iterator[Chat]:
    """Client of a service whose first model has a small context window, and whose fallback model a larger one."""
    windows = [
        ModelSetting(name="gpt-primary", context_window=600),
        ModelSetting(name="gpt-fallback", context_window=6000),
    ]
    small = settings.model_copy(update={"LLM_MODELS": windows, "LLM_MAX_TOKENS": 100, "LLM_SUMMARY_ENABLED": True})
    with TestClient(main.create(small)) as service:
        yield Chat(service, chat.user)


def test_message_that_exceeds_every_context_window_is_refused_and_not_stored(
    small_window_chat: Chat, provider: Provider, sql: Sql
) -> None:
    session = small_window_chat.open()
    message = {"message": "word " * 6000}
    for path, body in (
        ("/direct", message),
        ("/direct/stream", message),
        (f"/sessions/{session}/messages", message),
        (f"/sessions/{session}/messages/stream", message),
        ("/sessions", {"initial_message": message["message"]}),
    ):
        assert_problem(small_window_chat.request("POST", path, json=body), 422, "message_too_long")
    assert provider.calls == []
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT count(*) FROM chat_sessions") == 1


def test_instructions_that_leave_no_room_for_the_question_fail_the_turn(
    small_window_chat: Chat, provider: Provider
) -> None:
    session = small_window_chat.open(context={"system_prompt": "word " * 800})
    answer = small_window_chat.ask(session, "word " * 4000)["ai_response"]
    assert (answer["status"], answer["metadata"]["error"]) == ("failed", "message_too_long")
    assert provider.calls == []


def test_each_model_gets_the_history_that_fits_its_context_window(small_window_chat: Chat, provider: Provider) -> None:
    session = small_window_chat.open()
    provider.always(fails(400), model="gpt-primary")
    provider.always(answers("Yes."), model="gpt-fallback")
    for _ in range(4):
        answer = small_window_chat.ask(session, "word " * 60)["ai_response"]
    asked = [call for call in provider.calls if call.messages[-1]["content"].startswith("word ")]
    sent = {call.model: len(call.messages) - 2 for call in asked}
    assert sent == {"gpt-primary": 4, "gpt-fallback": 6}
    assert answer["metadata"]["history_messages"] == 6
    assert "history_left_out" not in answer["metadata"]


def test_summary_is_sent_to_the_model_and_deleted_with_its_session(
    small_window_chat: Chat, provider: Provider, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend, running = Summarizer._extend, list[object]()

    async def tracked(*arguments: Any) -> None:  # noqa: ANN401 - passed on
        running.append(arguments)
        await extend(*arguments)
        running.pop()

    monkeypatch.setattr(Summarizer, "_extend", tracked)
    provider.always(answers("- The user is Ada."))
    session = small_window_chat.open()
    for _ in range(4):
        small_window_chat.ask(session, "word " * 60)
        wait_until(lambda: not running)
    answer = small_window_chat.ask(session, "Who am I?")["ai_response"]
    (asked,) = [call for call in provider.calls if call.messages[-1]["content"] == "Who am I?"]
    assert asked.messages[0]["content"].endswith("- The user is Ada.")
    assert answer["metadata"]["history_left_out"] == answer["metadata"]["history_summarized"] > 0
    assert sql.value("SELECT count(*) FROM llm_calls WHERE purpose = 'summary' AND status = 'ok'") >= 1
    assert small_window_chat.request("DELETE", f"/sessions/{session}").status_code == 200
    assert sql.value("SELECT count(*) FROM chat_sessions") == 0
