"""Prompts: history, context and instructions that a turn sends to the model."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import main
from app.config import DEFAULT_SYSTEM_PROMPT, Settings
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers, echoes


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


@pytest.mark.parametrize("tone", [["casual"], {}], ids=["list", "object"])
def test_tone_that_is_not_text_is_refused(chat: Chat, tone: object) -> None:
    for path in ("/direct", f"/sessions/{chat.open()}/messages"):
        assert_problem(chat.request("POST", path, json={"message": "Hi", "context": {"tone": tone}}), 422)
    assert_problem(chat.request("POST", "/sessions", json={"context": {"tone": tone}}), 422)


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
    changed = settings.model_copy(update={"LLM_SYSTEM_PROMPT": "You are a pirate."})
    with TestClient(main.create(changed)) as service:
        changed_chat = Chat(service, chat.user)
        changed_chat.ask(changed_chat.open(context={"tone": "casual"}), "Hi")
    assert provider.calls[0].messages[0]["content"].startswith("You are a pirate. ")
