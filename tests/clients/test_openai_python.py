"""OpenAI's client for Python, with its defaults."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from tests.clients.conftest import client_name, tried
from tests.support.provider import DONE, Provider, answers, chunk, fails, streams
from tests.support.tool_calls import CALL, WEATHER, calls_tools

NAME = client_name("openai")
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
MODEL = "gpt-primary"


class Reply(BaseModel):
    """A structured answer."""

    city: str
    degrees: int


@pytest.fixture
def client(base_url: str, api_key: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=base_url, api_key=api_key, max_retries=0) as opened:
        yield opened


@tried(NAME, "models")
def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["gpt-primary", "gpt-fallback"]
    assert client.models.retrieve(MODEL).owned_by == "chat-bot-system"


@tried(NAME, "answer and token counts")
def test_answer(client: OpenAI, provider: Provider) -> None:
    provider.always(answers("Hello there.", usage=(12, 3)))
    completion = client.chat.completions.create(model=MODEL, messages=HELLO, temperature=0.2, max_tokens=50)
    assert completion.choices[0].message.content == "Hello there."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 15


@tried(NAME, "streamed answer with token counts")
def test_stream(client: OpenAI, provider: Provider) -> None:
    provider.always(answers("One two three, grüß Gott.", usage=(12, 3), every=0.03))
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    assert text == "One two three, grüß Gott."
    assert [each.choices[0].finish_reason for each in chunks if each.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    without = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert all(each.choices for each in without)


@tried(NAME, "stream helper")
def test_stream_helper(client: OpenAI, provider: Provider) -> None:
    provider.always(answers("Hello there.", every=0.03))
    with client.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        events = list(stream)
        assert stream.get_final_completion().choices[0].message.content == "Hello there."
    assert {"content.delta", "content.done"} <= {event.type for event in events}


@tried(NAME, "structured answer (`parse`)")
def test_parse(client: OpenAI, provider: Provider) -> None:
    provider.always(answers('{"city": "Rome", "degrees": 22}'))
    parsed = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Reply)
    assert parsed.choices[0].message.parsed == Reply(city="Rome", degrees=22)
    assert provider.calls[0].body["response_format"]["json_schema"]["strict"] is True


@tried(NAME, "tool calls, plain and streamed")
def test_tools(client: OpenAI, provider: Provider) -> None:
    provider.always(calls_tools())
    tools: Any = [WEATHER]
    message = client.chat.completions.create(model=MODEL, messages=HELLO, tools=tools).choices[0].message
    assert message.tool_calls is not None
    assert message.tool_calls[0].to_dict() == CALL
    with client.chat.completions.stream(model=MODEL, messages=HELLO, tools=tools) as stream:
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    assert final.message.tool_calls is not None
    assert final.message.tool_calls[0].function.arguments == CALL["function"]["arguments"]
    provider.always(answers("Sunny."))
    history: Any = [*HELLO, message, {"role": "tool", "tool_call_id": "call_1", "content": "22"}]
    assert (
        client.chat.completions.create(model=MODEL, messages=history, tools=tools).choices[0].message.content
        == "Sunny."
    )


@tried(NAME, "raw response and request id")
def test_raw_response(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO)
    assert raw.headers["x-request-id"] == raw.request_id
    assert raw.parse().choices[0].message.content == "Hello."


@tried(NAME, "errors")
def test_errors(client: OpenAI, provider: Provider, base_url: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as invalid:
        client.chat.completions.create(model=MODEL, messages=HELLO, temperature=9)
    assert invalid.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError) as refused, OpenAI(base_url=base_url, api_key="x") as other:
        other.models.list()
    assert refused.value.code == "invalid_api_key"
    provider.always(fails(400, code="context_length_exceeded"))
    with pytest.raises(openai.BadRequestError) as full:
        client.chat.completions.create(model=MODEL, messages=HELLO)
    assert full.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError, match="chat/completions"):
        client.responses.create(model=MODEL, input="Hi")


@tried(NAME, "failure in the middle of a stream raises")
def test_failed_stream_raises(client: OpenAI, provider: Provider) -> None:
    provider.always(streams(chunk("Once"), every=0.1))
    received = []
    with pytest.raises(openai.APIError) as error:  # noqa: PT012 - the stream raises while it is read
        for each in client.chat.completions.create(model=MODEL, messages=HELLO, stream=True):
            received.append(each.choices[0].delta.content)  # noqa: PERF401 - as above
    assert "".join(filter(None, received)) == "Once"
    assert error.value.code == "provider_bad_response"


@tried(NAME, "retries after a failure")
def test_retries(base_url: str, api_key: str, provider: Provider) -> None:
    provider.script(*[fails(503)] * 4, streams(chunk("Hello."), chunk(finish_reason="stop"), DONE))
    with OpenAI(base_url=base_url, api_key=api_key) as client:
        stream = client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        assert "".join(each.choices[0].delta.content or "" for each in stream) == "Hello."
