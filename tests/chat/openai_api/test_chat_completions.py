"""Chat completions: answers, history, limits and ledger are those of the native API."""

import json
from collections.abc import Callable

import pytest
from httpx2 import Response

from tests.chat.openai_api.conftest import COMPLETIONS, HELLO, openai_error
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat
from tests.support.provider import Call, Provider, Wire, answers, echoes, sends
from tests.support.tool_calls import CALL, WEATHER, calls_tools

Complete = Callable[..., Response]


def test_answer_has_the_form_of_openai(complete: Complete, provider: Provider) -> None:
    provider.always(answers("Hello there.", usage=(12, 3)))
    response = complete()
    assert response.status_code == 200, response.text
    document = response.json()
    assert document["id"].startswith("chatcmpl-")
    assert document["object"] == "chat.completion"
    assert document["model"] == "gpt-primary"
    assert document["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello there.",
                "refusal": None,
                "reasoning_content": None,
                "tool_calls": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert document["usage"] == {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}


def test_messages_of_the_client_are_the_history(complete: Complete, provider: Provider, sql: Sql) -> None:
    provider.always(echoes())
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
        {"role": "assistant", "content": "Three"},
        {"role": "user", "content": "Four", "name": "ada"},
    ]
    assert complete(messages).status_code == 200
    (call,) = provider.calls
    system, *rest = call.body["messages"]
    assert system["role"] == "system"
    assert system["content"].startswith("You are a helpful assistant.")
    assert system["content"].endswith("\n\nBe brief.")
    assert rest == [
        {"role": "user", "content": "One\nTwo"},
        {"role": "assistant", "content": "Three"},
        {"role": "user", "content": "Four", "name": "ada"},
    ]
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT count(*) FROM llm_calls WHERE status = 'ok' AND purpose = 'answer'") == 1


def test_parameters_reach_the_engine_and_others_are_ignored(complete: Complete, provider: Provider) -> None:
    options = {
        "temperature": 0.1,
        "top_p": 0.5,
        "frequency_penalty": 1,
        "presence_penalty": -1,
        "stop": ["END"],
        "seed": 7,
        "logit_bias": {"50256": -100},
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
        "reasoning_effort": "low",
        "tools": [WEATHER],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }
    ignored = {
        "user": "x",
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "cache_control": {},
        "top_k": 5,
    }
    response = complete(**options, **ignored, max_completion_tokens=50, max_tokens=60, n=1, logprobs=False)
    assert response.status_code == 200, response.text
    sent = provider.calls[0].body
    assert {name: sent[name] for name in options} == options
    assert sent["max_tokens"] == 50
    assert not ignored.keys() & sent.keys()


def test_token_limit_of_the_service_applies(complete: Complete, provider: Provider) -> None:
    assert complete(max_tokens=1_000_000).status_code == 200
    assert provider.calls[0].body["max_tokens"] == 2048


def test_tool_calls_come_back_and_their_results_go_in(complete: Complete, provider: Provider) -> None:
    provider.script(calls_tools(), answers("Sunny."))
    choice = complete(tools=[WEATHER]).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [CALL]
    messages = [*HELLO, choice["message"], {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"}]
    assert complete(messages, tools=[WEATHER]).json()["choices"][0]["message"]["content"] == "Sunny."
    assert provider.calls[1].body["messages"][-2:] == [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "22 degrees", "tool_call_id": "call_1"},
    ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
def test_tool_calls_are_counted_and_never_cached(
    complete: Complete, provider: Provider, sql: Sql, reason: str, *, stream: bool
) -> None:
    provider.always(calls_tools(finish_reason=reason))
    for _ in range(2):
        response = complete(tools=[WEATHER], stream=stream)
        assert response.status_code == 200
        assert "tool_calls" in response.text
        assert "get_weather" in response.text
    assert len(provider.calls) == 2
    assert sql.value("SELECT sum(completion_tokens) FROM llm_calls WHERE status = 'ok'") == 16


def test_images_are_passed_on(complete: Complete, provider: Provider) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    content = [{"type": "text", "text": "What is this?"}, image]
    assert complete([{"role": "user", "content": content}]).status_code == 200
    assert provider.calls[0].body["messages"][-1]["content"] == content


def test_question_and_answer_are_stored_in_a_session_on_request(
    complete: Complete, chat: Chat, provider: Provider
) -> None:
    session = chat.open()
    provider.always(answers("Hello."))
    chat.ask(session, "My name is Ada.")
    assert complete([{"role": "user", "content": "And now?"}], metadata={"session_id": session}).status_code == 200
    assert [message["content"] for message in chat.messages(session)] == [
        "My name is Ada.",
        "Hello.",
        "And now?",
        "Hello.",
    ]
    # The stored conversation was sent with the one message.
    assert [message["content"] for message in provider.calls[1].messages[1:]] == [
        "My name is Ada.",
        "Hello.",
        "And now?",
    ]
    longer = [*HELLO, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Last"}]
    headers = chat.user.headers | {"X-Session-ID": session}
    assert chat.client.post(COMPLETIONS, json={"messages": longer}, headers=headers).status_code == 200
    assert [message["content"] for message in provider.calls[2].messages[1:]] == ["Hi", "Yes?", "Last"]
    assert [message["content"] for message in chat.messages(session)][-2:] == ["Last", "Hello."]


def test_models_are_those_of_the_allow_list(chat: Chat) -> None:
    models = chat.client.get("/v1/models", headers=chat.user.headers).json()
    assert models["object"] == "list"
    assert [model["id"] for model in models["data"]] == ["gpt-primary", "gpt-fallback"]
    assert models["data"][0] == {"id": "gpt-primary", "object": "model", "created": 0, "owned_by": "chat-bot-system"}
    assert chat.client.get("/v1/models/gpt-primary", headers=chat.user.headers).json() == models["data"][0]
    openai_error(chat.client.get("/v1/models/a/b", headers=chat.user.headers), 404, "model_not_found", "model")


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_come_back(complete: Complete, provider: Provider, *, stream: bool) -> None:
    tokens = [{"token": "Hello.", "logprob": -0.1, "bytes": None, "top_logprobs": []}]

    async def behave(call: Call, wire: Wire) -> None:
        choice = {"index": 0, "finish_reason": "stop", "logprobs": {"content": tokens}}
        message = {"role": "assistant", "content": "Hello."}
        choice["delta" if call.stream else "message"] = message
        document = {"model": call.model, "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}
        await sends(json.dumps(document).encode())(call, wire)

    provider.always(behave)
    response = complete(logprobs=True, top_logprobs=1, stream=stream)
    assert response.status_code == 200, response.text
    documents = [line.removeprefix("data: ") for line in response.text.splitlines() if '"logprob"' in line]
    (choice,) = [json.loads(document)["choices"][0] for document in documents]
    assert choice["logprobs"]["content"] == tokens
