"""Clients in JavaScript, run by Node."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.conftest import OPENAI_JS, client_name, tried
from tests.clients.cutting_proxy import cutting_proxy
from tests.fixtures.database import Sql
from tests.fixtures.streaming import ChatServer
from tests.support.provider import Provider, answers, chunk, streams
from tests.support.tool_calls import CALL, WEATHER, calls_tools

AI_SDK = client_name("@ai-sdk/openai-compatible")
FETCH_EVENT_SOURCE = client_name("@microsoft/fetch-event-source")
Run = Callable[..., Any]


@tried(OPENAI_JS, "models, answer and token counts")
def test_openai_answer(run_javascript: Run, base_url: str, api_key: str, provider: Provider) -> None:
    provider.always(answers("Hello there.", usage=(12, 3)))
    result = run_javascript("openai.js", FEATURE="answer", BASE_URL=base_url, API_KEY=api_key)
    assert result == {"text": "Hello there.", "tokens": 15, "models": ["gpt-primary", "gpt-fallback"]}


@tried(OPENAI_JS, "streamed answer with token counts")
def test_openai_stream(run_javascript: Run, base_url: str, api_key: str, provider: Provider) -> None:
    provider.always(answers("One two three.", usage=(12, 3), every=0.03))
    result = run_javascript("openai.js", FEATURE="stream", BASE_URL=base_url, API_KEY=api_key)
    assert result == {"text": "One two three.", "tokens": 15}


@tried(OPENAI_JS, "tool calls, plain and streamed")
def test_openai_tools(run_javascript: Run, base_url: str, api_key: str, provider: Provider) -> None:
    provider.always(calls_tools())
    tools = json.dumps([WEATHER])
    result = run_javascript("openai.js", FEATURE="tools", BASE_URL=base_url, API_KEY=api_key, TOOLS=tools)
    assert result["plain"] == CALL["function"]
    assert result["streamed"]["arguments"] == CALL["function"]["arguments"]


@tried(OPENAI_JS, "errors")
def test_openai_errors(run_javascript: Run, base_url: str, api_key: str) -> None:
    result = run_javascript("openai.js", FEATURE="errors", BASE_URL=base_url, API_KEY=api_key)
    assert result["model"] == ["NotFoundError", 404, "model_not_found", "model"]
    assert result["temperature"][0] == "BadRequestError"
    assert result["temperature"][3] == "temperature"


@tried(OPENAI_JS, "failure in the middle of a stream raises")
def test_openai_failure(run_javascript: Run, base_url: str, api_key: str, provider: Provider) -> None:
    provider.always(streams(chunk("Once"), every=0.1))
    result = run_javascript("openai.js", FEATURE="failure", BASE_URL=base_url, API_KEY=api_key)
    assert result["text"] == "Once"
    assert result["error"] == "APIError"


@tried(AI_SDK, "answer and token counts")
def test_ai_sdk_answer(run_javascript: Run, base_url: str, api_key: str, provider: Provider) -> None:
    provider.always(answers("Hello there.", usage=(12, 3)))
    result = run_javascript("ai_sdk.js", FEATURE="answer", BASE_URL=base_url, API_KEY=api_key)
    assert result == {"text": "Hello there.", "tokens": 15}


@tried(AI_SDK, "streamed answer with token counts")
def test_ai_sdk_stream(run_javascript: Run, base_url: str, api_key: str, provider: Provider) -> None:
    provider.always(answers("One two three.", usage=(12, 3), every=0.03))
    result = run_javascript("ai_sdk.js", FEATURE="stream", BASE_URL=base_url, API_KEY=api_key)
    assert result == {"text": "One two three.", "tokens": 15}


@tried(AI_SDK, "tool calls, plain and streamed")
def test_ai_sdk_tools(run_javascript: Run, base_url: str, api_key: str, provider: Provider) -> None:
    provider.always(calls_tools())
    result = run_javascript("ai_sdk.js", FEATURE="tools", BASE_URL=base_url, API_KEY=api_key)
    assert result == {"plain": {"city": "Rome"}, "streamed": {"city": "Rome"}}


@tried(AI_SDK, "structured answer (`generateObject`)")
def test_ai_sdk_object(run_javascript: Run, base_url: str, api_key: str, provider: Provider) -> None:
    provider.always(answers('{"city": "Rome", "degrees": 22}'))
    result = run_javascript("ai_sdk.js", FEATURE="object", BASE_URL=base_url, API_KEY=api_key)
    assert result == {"object": {"city": "Rome", "degrees": 22}}
    assert provider.calls[0].body["response_format"]["type"] == "json_schema"


@tried(AI_SDK, "failure in the middle of a stream raises")
def test_ai_sdk_failure(run_javascript: Run, base_url: str, api_key: str, provider: Provider) -> None:
    provider.always(streams(chunk("Once"), every=0.1))
    result = run_javascript("ai_sdk.js", FEATURE="failure", BASE_URL=base_url, API_KEY=api_key)
    assert result["text"] == "Once"
    assert result["error"] is True


def stream_with_fetch_event_source(
    run: Run, server: ChatServer, provider: Provider, sql: Sql, **environment: str
) -> dict[str, Any]:
    """Ask a question whose stream is cut until there were ten interruptions; check that it was asked once."""
    text = " ".join(f"wörd{number}😀" for number in range(150))
    provider.always(answers(text, every=0.06))
    session = server.open()
    with cutting_proxy(str(server.http.base_url.host), server.http.base_url.port or 80, cuts=10) as proxy:
        url = f"{proxy.url}/api/v1/chat/sessions/{session}/messages/stream"
        result: dict[str, Any] = run("fetch_event_source.js", URL=url, TOKEN=server.user.access_token, **environment)
    assert proxy.cuts + result["hidden"] >= 10
    assert result["requests"] >= 11
    assert result["final"]["message"]["content"] == text
    assert result["text"] == text
    assert len(provider.calls) == 1
    assert sql.value("SELECT count(*) FROM chat_messages") == 2
    return result


@tried(FETCH_EVENT_SOURCE, "stream of a session, cut ten times, in a visible page")
def test_fetch_event_source(run_javascript: Run, server: ChatServer, provider: Provider, sql: Sql) -> None:
    result = stream_with_fetch_event_source(run_javascript, server, provider, sql, PAGE="visible")
    assert result["appended"] == result["text"]
    assert result["events"].count("message.created") == 1
    assert result["overlapping"] == 0


@tried(FETCH_EVENT_SOURCE, "stream of a session, cut or hidden ten times, text placed by the ids of events")
@pytest.mark.parametrize("page", ["hidden", "flickering", "waiting"])
def test_fetch_event_source_in_a_hidden_page(
    run_javascript: Run, server: ChatServer, provider: Provider, sql: Sql, page: str
) -> None:
    result = stream_with_fetch_event_source(run_javascript, server, provider, sql, PAGE=page)
    if page != "hidden":
        # The package has two connections, which deliver the same text. If this fails, the package has changed, and the
        # text need not be placed any more.
        assert result["overlapping"] > 0
        assert len(result["appended"]) > len(result["text"])


@tried(FETCH_EVENT_SOURCE, "stream of a session, cut ten times, `openWhenHidden`, text appended")
def test_fetch_event_source_that_stays_open(
    run_javascript: Run, server: ChatServer, provider: Provider, sql: Sql
) -> None:
    options = json.dumps({"openWhenHidden": True})
    result = stream_with_fetch_event_source(run_javascript, server, provider, sql, PAGE="waiting", OPTIONS=options)
    assert result["appended"] == result["text"]
    assert result["overlapping"] == 0
