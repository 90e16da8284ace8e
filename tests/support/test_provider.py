"""The scriptable provider, on which other tests rely."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.provider import (
    Behaviour,
    Provider,
    answers,
    drips,
    echoes,
    fails,
    floods,
    resets,
    sends,
    sends_no_choices,
    stalls,
)
from tests.support.waiting import LONGEST_WAIT

TIMEOUT = 1.0
"""Timeout in seconds of clients that meet a provider which does not answer."""


@pytest.fixture
def client(provider: Provider) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=provider.base_url, timeout=LONGEST_WAIT) as client:
        yield client


@pytest.fixture
def short_timeout_client(provider: Provider) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=provider.base_url, timeout=TIMEOUT) as client:
        yield client


def ask(client: httpx.Client, model: str = "gpt-4", text: str = "Hi", **more: object) -> httpx.Response:
    messages = [{"role": "user", "content": text}]
    return client.post("/chat/completions", json={"model": model, "messages": messages, **more})


def stream(client: httpx.Client) -> list[Any]:
    response = ask(client, stream=True, stream_options={"include_usage": True})
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_whole_answer_has_text_usage_and_finish_reason(provider: Provider, client: httpx.Client) -> None:
    provider.script(answers("Good day.", usage=(7, 2)))
    document = ask(client).json()
    assert document["choices"][0]["message"]["content"] == "Good day."
    assert document["choices"][0]["finish_reason"] == "stop"
    assert document["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def test_stream_joins_to_the_text_and_ends_with_usage(provider: Provider, client: httpx.Client) -> None:
    provider.script(answers("One two  three.\n", usage=(7, 4)))
    *events, last, usage = stream(client)
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == "One two  three.\n"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 11


def test_finish_reason_and_usage_can_be_missing(provider: Provider, client: httpx.Client) -> None:
    provider.always(answers("Hi.", usage=None, finish_reason=None))
    document = ask(client).json()
    assert "usage" not in document
    assert "finish_reason" not in document["choices"][0]
    assert all(event["choices"][0]["finish_reason"] is None for event in stream(client))


def test_tokens_arrive_with_the_scripted_delays(provider: Provider, client: httpx.Client) -> None:
    provider.script(answers("a b c", first_after=0.05, every=0.05))
    started = time.monotonic()
    stream(client)
    assert time.monotonic() - started >= 0.2


def test_echo_returns_the_received_messages(provider: Provider, client: httpx.Client) -> None:
    provider.always(echoes())
    assert ask(client, text="Ada").json()["choices"][0]["message"]["content"] == "user: Ada"


def test_status_and_retry_after(provider: Provider, client: httpx.Client) -> None:
    provider.script(fails(429, retry_after="7"))
    response = ask(client)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")


def test_scripts_are_separate_by_model_and_used_once(provider: Provider, client: httpx.Client) -> None:
    provider.script(fails(500), model="gpt-primary")
    provider.script(answers("second"), model="gpt-fallback")
    provider.always(fails(418))
    assert ask(client, "gpt-fallback").json()["choices"][0]["message"]["content"] == "second"
    assert ask(client, "gpt-primary").status_code == 500
    assert ask(client, "gpt-primary").status_code == 418


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        pytest.param(resets(), httpx.ReadError, id="reset"),
        pytest.param(stalls(), httpx.ReadTimeout, id="stalled headers"),
        pytest.param(answers("Hello.", stall_after=5), httpx.ReadTimeout, id="stalled body"),
        pytest.param(answers("Hello.", cut_after=5), httpx.RemoteProtocolError, id="cut body"),
    ],
)
def test_transport_faults_reach_the_client(
    provider: Provider,
    client: httpx.Client,
    short_timeout_client: httpx.Client,
    behaviour: Behaviour,
    error: type[Exception],
) -> None:
    provider.script(behaviour)
    with pytest.raises(error):
        ask(short_timeout_client if error is httpx.ReadTimeout else client)
    assert ask(client).status_code == 200  # and the provider still works


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        pytest.param(answers("a b c", stall_after=2), httpx.ReadTimeout, id="stalled"),
        pytest.param(answers("a b c", cut_after=2), httpx.RemoteProtocolError, id="cut"),
    ],
)
def test_a_stream_can_break_after_some_tokens(
    provider: Provider,
    client: httpx.Client,
    short_timeout_client: httpx.Client,
    behaviour: Behaviour,
    error: type[Exception],
) -> None:
    provider.script(behaviour)
    received: list[str] = []
    body = {"model": "gpt-4", "messages": [], "stream": True}
    asker = short_timeout_client if error is httpx.ReadTimeout else client
    with asker.stream("POST", "/chat/completions", json=body) as response, pytest.raises(error):
        received.extend(response.iter_text())
    assert '"content": " b"' in "".join(received)
    assert '"content": " c"' not in "".join(received)


def test_a_dripping_body_does_not_trigger_the_read_timeout(
    provider: Provider, short_timeout_client: httpx.Client
) -> None:
    provider.script(drips(0.01))
    started = time.monotonic()
    assert ask(short_timeout_client).json()["choices"][0]["message"]["content"] == "Hello."
    assert time.monotonic() - started > TIMEOUT


def test_the_body_can_be_any_bytes(provider: Provider, client: httpx.Client) -> None:
    provider.script(sends(b'{"choices": [\xff'), sends(b"<html>", status=502, content_type="text/html"))
    assert ask(client).content == b'{"choices": [\xff'
    assert ask(client).status_code == 502


def test_choices_can_be_empty(provider: Provider, client: httpx.Client) -> None:
    provider.script(sends_no_choices())
    assert ask(client).json()["choices"] == []


def test_a_flood_is_a_valid_document_of_the_scripted_size(provider: Provider, client: httpx.Client) -> None:
    provider.script(floods(1_000_000))
    assert len(ask(client).json()["choices"][0]["message"]["content"]) == 1_000_000


def test_the_port_can_be_closed_temporarily(provider: Provider, client: httpx.Client) -> None:
    assert ask(client).status_code == 200
    with provider.refusing_connections(), pytest.raises(httpx.ConnectError):
        ask(client)
    assert ask(client).status_code == 200


def test_the_journal_records_headers_body_and_times(provider: Provider, client: httpx.Client) -> None:
    before = time.monotonic()
    client.headers["Authorization"] = "Bearer key"
    ask(client, "gpt-4", "Ada")
    (call,) = provider.calls
    assert call.headers["authorization"] == "Bearer key"
    assert (call.model, call.messages, call.stream) == ("gpt-4", [{"role": "user", "content": "Ada"}], False)
    provider.wait_until(lambda: call.finished is not None)
    assert call.finished is not None
    assert before <= call.started <= call.finished <= time.monotonic()
    assert call.abandoned is None


def test_the_journal_records_when_the_client_disconnected(
    provider: Provider, short_timeout_client: httpx.Client
) -> None:
    provider.script(stalls())
    sent_at = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        ask(short_timeout_client)
    (call,) = provider.calls
    provider.wait_until(lambda: call.abandoned is not None)
    assert call.abandoned is not None
    assert sent_at < call.started < call.abandoned
    assert call.abandoned - sent_at > TIMEOUT
    assert call.finished is None


def test_forget_clears_script_and_journal(provider: Provider, client: httpx.Client) -> None:
    provider.script(fails(500))
    provider.reset()
    assert ask(client).status_code == 200
    assert len(provider.calls) == 1


def test_waiting_for_calls_times_out(provider: Provider) -> None:
    with pytest.raises(TimeoutError):
        provider.wait_for_calls(1, timeout=0.05)
