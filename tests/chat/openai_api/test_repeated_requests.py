"""Requests with an `Idempotency-Key`: one answer, one model call, and answers of clients that disconnect."""

import asyncio
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any
from unittest.mock import Mock, create_autospec

import httpx
import pytest
from httpx2 import Response

from app import main
from app.chat.idempotency.service import IdempotencyService
from app.chat.openai_api.idempotency import CompletionReplays
from app.config import Settings
from app.core.exceptions import ConflictError, ServiceUnavailableError
from app.database.connection import Database
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest
from tests.chat.openai_api.conftest import COMPLETIONS, HELLO
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, User, assert_problem
from tests.fixtures.streaming import ChatServer, serving
from tests.support.fakes import turn_recovery
from tests.support.provider import Behaviour, Call, Provider, Wire, answers, fails, held
from tests.support.tool_calls import CALL, WEATHER, calls_tools
from tests.support.waiting import closed_gate, eventually, wait_until

KEY = "9e0e1a64-1f6f-4f43-8a3c-0f6c6b1f3c55"


def send(chat: Chat, key: str = KEY, **fields: object) -> Response:
    body = {"model": "gpt-primary", "messages": HELLO, **fields}
    return chat.client.post(COMPLETIONS, json=body, headers=chat.user.headers | {"Idempotency-Key": key})


def text_of(stream: str) -> str:
    """Return the text of the chunks of a stream that is complete."""
    *chunks, end = [line.removeprefix("data: ") for line in stream.splitlines() if line]
    assert end == "[DONE]"
    choices = [choice for chunk in chunks for choice in json.loads(chunk)["choices"]]
    assert [choice["finish_reason"] for choice in choices][-1] in {"stop", "tool_calls"}
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_repeated_request_gets_the_same_answer(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.script(answers("First.", usage=(12, 3)), answers("Second."))
    first, again = send(chat), send(chat)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.json()["choices"][0]["message"]["content"] == "First."
    assert len(provider.calls) == 1
    assert sql.value("SELECT count(*) FROM llm_calls") == 1
    assert send(chat, key="another").json()["choices"][0]["message"]["content"] == "Second."


def test_key_that_expires_while_a_repeated_request_waits_counts_as_absent(
    chat: Chat, provider: Provider, sql: Sql
) -> None:
    with ThreadPoolExecutor(2) as pool, closed_gate() as gate:
        provider.script(held(gate, answers("First.")))
        first = pool.submit(send, chat)
        provider.wait_for_calls(1)
        again = pool.submit(send, chat)
        time.sleep(0.2)  # it waits for the first one
        sql.do("UPDATE idempotency_keys SET expires_at = now()")
        assert_problem(again.result(5), 409, "turn_interrupted")
        gate.set()
        assert first.result().is_success
    assert len(provider.calls) == 1


def test_repeated_stream_gets_the_same_answer(chat: Chat, provider: Provider) -> None:
    provider.script(answers("First, grüß Gott.", usage=(12, 3)), answers("Second."))
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    first, again = send(chat, **options), send(chat, **options)
    assert text_of(again.text) == text_of(first.text) == "First, grüß Gott."
    assert again.headers["Content-Type"] == first.headers["Content-Type"] == "text/event-stream"
    ids = {
        json.loads(line.removeprefix("data: "))["id"] for line in (first.text + again.text).splitlines() if "{" in line
    }
    assert len(ids) == 1
    assert '"total_tokens":15' in again.text
    assert len(provider.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_are_repeated(chat: Chat, provider: Provider, *, stream: bool) -> None:
    provider.always(calls_tools())
    first, again = send(chat, tools=[WEATHER], stream=stream), send(chat, tools=[WEATHER], stream=stream)
    assert len(provider.calls) == 1
    assert first.status_code == again.status_code == 200
    if stream:
        assert CALL["id"] in again.text
        assert text_of(again.text) == ""
    else:
        assert again.json()["choices"][0]["message"]["tool_calls"] == [CALL]


@pytest.mark.parametrize("stream", [False, True])
def test_failed_request_is_executed_again(chat: Chat, provider: Provider, *, stream: bool) -> None:
    provider.always(fails(400, message="Invalid schema"))
    assert send(chat, stream=stream).status_code == 400
    provider.always(answers("Now."))
    assert "Now." in send(chat, stream=stream).text


def test_key_of_another_request_is_refused(chat: Chat, provider: Provider) -> None:
    assert send(chat).status_code == 200
    refused = send(chat, temperature=0.5)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "idempotency_key_reused"
    assert len(provider.calls) == 1


def test_repeated_request_in_a_session_asks_once(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    first = send(chat, metadata={"session_id": session})
    again = send(chat, metadata={"session_id": session})
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert len(provider.calls) == 1
    assert len(chat.messages(session)) == 2


@pytest.mark.parametrize(
    ("is_stored", "has_tools"), [(False, False), (True, False), (False, True)], ids=["text", "session", "tool call"]
)
def test_repeated_request_gets_the_same_bytes(
    chat: Chat, provider: Provider, monkeypatch: pytest.MonkeyPatch, *, is_stored: bool, has_tools: bool
) -> None:
    # The question is stored in another second than that in which the request begins.
    monkeypatch.setattr("app.chat.openai_api.idempotency.time", Mock(time=Mock(return_value=time.time() - 5)))
    provider.always(calls_tools() if has_tools else answers("Hello.", usage=(12, 3)))
    fields: dict[str, Any] = {"tools": [WEATHER]} if has_tools else {}
    if is_stored:
        fields["metadata"] = {"session_id": chat.open()}
    first, again = send(chat, **fields), send(chat, **fields)
    assert first.status_code == again.status_code == 200
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content


def test_repeated_stream_in_a_session_has_the_same_time(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.chat.openai_api.service.time", Mock(time=Mock(return_value=time.time() - 5)))
    fields: dict[str, Any] = {"stream": True, "metadata": {"session_id": chat.open()}}
    first, again = send(chat, **fields), send(chat, **fields)
    created = {each for text in (first.text, again.text) for each in re.findall(r'"created":\s?(\d+)', text)}
    assert len(created) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_request_that_is_repeated_while_it_is_answered_waits(
    replicas: tuple[ChatServer, ChatServer], provider: Provider, *, stream: bool
) -> None:
    gate = threading.Event()
    provider.always(answers("Hello there.", end=gate))
    body = {"messages": HELLO, "stream": stream}

    def post(server: ChatServer) -> httpx.Response:
        url = server.http.base_url.copy_with(path=COMPLETIONS)
        return server.http.post(url, json=body, headers={"Idempotency-Key": KEY})

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, replicas[0])
        provider.wait_until(lambda: bool(provider.calls))
        again = pool.submit(post, replicas[1])
        threading.Timer(1, gate.set).start()
        assert first.result().status_code == again.result().status_code == 200
    if stream:
        assert text_of(again.result().text) == "Hello there."
    else:
        assert again.result().json() == first.result().json()
    assert len(provider.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_answer_of_a_client_that_disconnects_is_cancelled(
    server: ChatServer, provider: Provider, sql: Sql, *, stream: bool
) -> None:
    provider.always(answers("word " * 1000, every=0.05) if stream else answers("word", stall_after=5))
    disconnect(server, provider, stream=stream)
    provider.wait_until(lambda: sql.value("SELECT count(*) FROM llm_calls WHERE status = 'cancelled'") == 1)
    provider.wait_until(lambda: provider.calls[0].abandoned is not None)
    assert sql.value("SELECT is_estimated FROM llm_calls")
    assert sql.value("SELECT prompt_tokens FROM llm_calls") > 0


@pytest.mark.parametrize("stream", [False, True])
def test_answer_with_a_key_is_completed_for_the_repeated_request(
    server: ChatServer, provider: Provider, *, stream: bool
) -> None:
    gate = threading.Event()

    async def behave(call: Call, wire: Wire) -> None:
        if not stream:
            await asyncio.to_thread(gate.wait, 30)
        await answers("Hello there.", end=gate)(call, wire)

    provider.always(behave)
    disconnect(server, provider, stream=stream, headers={"Idempotency-Key": KEY})
    gate.set()
    url = server.http.base_url.copy_with(path=COMPLETIONS)
    again = server.http.post(url, json={"messages": HELLO, "stream": stream}, headers={"Idempotency-Key": KEY})
    assert again.status_code == 200, again.text
    assert "Hello there." in again.text
    assert len(provider.calls) == 1


async def test_request_whose_first_one_has_just_failed_is_to_be_repeated(pool: Database) -> None:
    """Its key was taken when the request came, and released before its state was read."""
    key = IdempotentRequest(1, "route", KEY, b"f" * 32)
    replays = CompletionReplays(IdempotencyService(pool, turn_recovery(pool)), asyncio.Event())
    with pytest.raises(ConflictError) as failure:
        await replays.find(IdempotencyKeyTakenError(key, None), model="m", window=100)
    assert failure.value.code == "turn_interrupted"


async def test_wait_for_the_first_request_ends_when_the_process_shuts_down() -> None:
    idempotency = create_autospec(IdempotencyService, instance=True)
    idempotency.original_request.side_effect = ConflictError(code="idempotency_in_progress")
    key = IdempotentRequest(1, "route", KEY, b"f" * 32)
    stopping = asyncio.Event()
    replays = CompletionReplays(idempotency, stopping)
    waiting = asyncio.create_task(replays.find(IdempotencyKeyTakenError(key, Mock()), model="m", window=100))
    await eventually(lambda: idempotency.find_stored.await_count)
    stopping.set()
    with pytest.raises(ServiceUnavailableError) as failure:
        await waiting
    assert failure.value.code == "shutting_down"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("is_repeated", [False, True])
def test_client_that_left_does_not_occupy_a_place(
    settings: Settings, ada: User, provider: Provider, sql: Sql, *, stream: bool, is_repeated: bool
) -> None:
    """Its answer with a key has not begun, or it waited for the one of its first request."""
    limit = 2 if is_repeated else 1
    settings = settings.model_copy(update={"STREAMS_PER_USER": limit, "QUESTIONS_PER_USER": limit})
    with serving(main.create(settings)) as url, closed_gate() as gate, ExitStack() as stack:
        server = ChatServer(url, ada)
        stack.callback(server.http.close)
        provider.always(waits(gate))

        def send(key: str) -> HTTPConnection:
            connection = open_request(server, stream=stream, headers={"Idempotency-Key": key})
            stack.callback(connection.close)
            return connection

        def is_refused() -> bool:
            url = server.http.base_url.copy_with(path=COMPLETIONS)
            # It is refused for its key if it has a place: the key is the one of another request.
            body = {"messages": [{"role": "user", "content": "Other"}], "stream": stream}
            response = server.http.post(url, json=body, headers={"Idempotency-Key": KEY})
            assert response.json()["code"] in {"idempotency_key_reused", "too_many_questions", "too_many_streams"}
            return response.status_code == 429

        connections = [send(KEY)]
        provider.wait_until(lambda: bool(provider.calls))
        if is_repeated:
            connections.append(send(KEY))
        wait_until(is_refused)
        connections[-1].close()
        wait_until(lambda: not is_refused(), timeout=5)
        assert len(provider.calls) == 1


def waits(gate: threading.Event) -> Behaviour:
    """Return an answer that begins when the gate is open."""

    async def behave(call: Call, wire: Wire) -> None:
        await asyncio.to_thread(gate.wait, 30)
        await answers("Hello there.")(call, wire)

    return behave


def disconnect(server: ChatServer, provider: Provider, *, stream: bool, headers: dict[str, str] | None = None) -> None:
    """Send a request, and close its connection while it is answered."""
    url = server.http.base_url.copy_with(path=COMPLETIONS)
    body = {"messages": HELLO, "stream": stream}
    if stream:
        with server.http.stream("POST", url, json=body, headers=headers) as response:
            next(response.iter_lines())
        return
    connection = open_request(server, stream=False, headers=headers)
    provider.wait_until(lambda: bool(provider.calls))
    connection.close()


def open_request(server: ChatServer, *, stream: bool, headers: dict[str, str] | None = None) -> HTTPConnection:
    """Send a request, and return its connection."""
    connection = HTTPConnection(str(server.http.base_url.host), server.http.base_url.port)
    sent = server.user.headers | {"Content-Type": "application/json"} | (headers or {})
    # The same bytes as those that httpx sends: the body of a repeated request must be the same.
    body = json.dumps({"messages": HELLO, "stream": stream}, separators=(",", ":"))
    connection.request("POST", COMPLETIONS, body, sent)
    return connection
