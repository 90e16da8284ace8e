"""LangChain's chat model over OpenAI's client."""

import pytest
from pydantic import BaseModel, SecretStr

from tests.clients.conftest import client_name, tried
from tests.support.provider import Provider, answers, chunk, streams
from tests.support.tool_calls import WEATHER, calls_tools

langchain_openai = pytest.importorskip("langchain_openai", reason="run `make clients`")
NAME = client_name("langchain-openai")


class Weather(BaseModel):
    """Weather of a city."""

    city: str
    degrees: int


@pytest.fixture
def model(base_url: str, api_key: str):  # type: ignore[no-untyped-def] # noqa: ANN201 - of an optional package
    return langchain_openai.ChatOpenAI(
        model="gpt-primary", base_url=base_url, api_key=SecretStr(api_key), max_retries=0, stream_usage=True
    )


@tried(NAME, "answer and token counts")
def test_invoke(model, provider: Provider) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    provider.always(answers("Hello there.", usage=(12, 3)))
    message = model.invoke("Hi")
    assert message.content == "Hello there."
    assert message.usage_metadata["total_tokens"] == 15


@tried(NAME, "streamed answer with token counts")
def test_stream(model, provider: Provider) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    provider.always(answers("One two three.", usage=(12, 3), every=0.03))
    pieces = list(model.stream("Hi"))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert whole.content == "One two three."
    assert whole.usage_metadata["output_tokens"] == 3
    assert whole.response_metadata["finish_reason"] == "stop"


@tried(NAME, "tools (`bind_tools`)")
@pytest.mark.parametrize("stream", [False, True])
def test_tools(model, provider: Provider, *, stream: bool) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    provider.always(calls_tools())
    bound = model.bind_tools([WEATHER])
    message = bound.invoke("Hi")
    if stream:
        pieces = list(bound.stream("Hi"))
        message = pieces[0]
        for piece in pieces[1:]:
            message += piece
    (call,) = message.tool_calls
    assert (call["name"], call["args"], call["id"]) == ("get_weather", {"city": "Rome"}, "call_1")


@tried(NAME, "structured answer (`with_structured_output`)")
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(model, provider: Provider, method: str) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    arguments = '{"city": "Rome", "degrees": 22}'
    call = {"id": "call_1", "type": "function", "function": {"name": "Weather", "arguments": arguments}}
    provider.always(answers(arguments) if method == "json_schema" else calls_tools(call))
    assert model.with_structured_output(Weather, method=method).invoke("Hi") == Weather(city="Rome", degrees=22)


@tried(NAME, "failure in the middle of a stream raises")
def test_failed_stream_raises(model, provider: Provider) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    provider.always(streams(chunk("Once"), every=0.1))
    with pytest.raises(Exception, match="No model gave a usable answer"):
        list(model.stream("Hi"))
