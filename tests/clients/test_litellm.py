"""LiteLLM as a client."""

import pytest

from tests.clients.conftest import client_name, tried
from tests.support.provider import Provider, answers, chunk, fails, streams
from tests.support.tool_calls import CALL, WEATHER, calls_tools

# Importing it takes seconds, and asks the internet for a price list unless told otherwise.
pytestmark = pytest.mark.filterwarnings("ignore")
NAME = client_name("litellm")
HELLO = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def complete(base_url: str, api_key: str, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def] # noqa: ANN201
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm", reason="run `make clients`")
    litellm.telemetry = False

    def send(**fields: object):  # type: ignore[no-untyped-def] # noqa: ANN202
        return litellm.completion(
            model="openai/gpt-primary", messages=HELLO, api_base=base_url, api_key=api_key, max_retries=0, **fields
        )

    return send


@tried(NAME, "answer and token counts")
def test_answer(complete, provider: Provider) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    provider.always(answers("Hello there.", usage=(12, 3)))
    response = complete()
    assert response.choices[0].message.content == "Hello there."
    assert response.usage.total_tokens == 15


@tried(NAME, "streamed answer with token counts")
def test_stream(complete, provider: Provider) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    provider.always(answers("One two three.", usage=(12, 3), every=0.03))
    chunks = list(complete(stream=True, stream_options={"include_usage": True}))
    text = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    assert text == "One two three."


@tried(NAME, "tool calls")
def test_tools(complete, provider: Provider) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    provider.always(calls_tools())
    (call,) = complete(tools=[WEATHER]).choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", CALL["function"]["arguments"])


@tried(NAME, "full context is recognised")
def test_context_error(complete, provider: Provider) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    litellm = pytest.importorskip("litellm", reason="run `make clients`")
    provider.always(fails(400, code="context_length_exceeded"))
    with pytest.raises(litellm.ContextWindowExceededError):
        complete()


@tried(NAME, "failure in the middle of a stream raises")
def test_failed_stream_raises(complete, provider: Provider) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    provider.always(streams(chunk("Once"), every=0.1))
    with pytest.raises(Exception, match="No model gave a usable answer"):
        list(complete(stream=True))
