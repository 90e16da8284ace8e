"""Turns with models that have small context windows."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import main
from app.chat.summaries.summarizer import Summarizer
from app.config import ModelSetting, Settings
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers, fails
from tests.support.waiting import wait_until


@pytest.fixture
def small_window_chat(settings: Settings, chat: Chat) -> Iterator[Chat]:
    """Client of a service whose first model has a small context window, and whose fallback model a larger one."""
    windows = [
        ModelSetting(name="gpt-primary", context_window=600),
        ModelSetting(name="gpt-fallback", context_window=6000),
    ]
    changed = settings.model_copy(update={"LLM_MODELS": windows, "LLM_MAX_TOKENS": 100, "LLM_SUMMARY_ENABLED": True})
    with TestClient(main.create(changed)) as service:
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
    calls = [call for call in provider.calls if call.messages[-1]["content"].startswith("word ")]
    sent = {call.model: len(call.messages) - 2 for call in calls}
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
    (last_call,) = [call for call in provider.calls if call.messages[-1]["content"] == "Who am I?"]
    assert last_call.messages[0]["content"].endswith("- The user is Ada.")
    assert answer["metadata"]["history_left_out"] == answer["metadata"]["history_summarized"] > 0
    assert sql.value("SELECT count(*) FROM llm_calls WHERE purpose = 'summary' AND status = 'ok'") >= 1
    assert small_window_chat.request("DELETE", f"/sessions/{session}").status_code == 200
    assert sql.value("SELECT count(*) FROM chat_sessions") == 0
