"""Admission control of the services."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app import main
from app.chat.sessions.lists import SessionLister
from app.config import Settings
from app.database.repositories.chat import session_batches
from app.http.middleware import BodyLimitMiddleware
from app.http.request_body import RequestBodyMiddleware
from tests.fixtures.database import Sql
from tests.fixtures.services import CHAT, Chat, User, assert_problem
from tests.support.provider import Behaviour, Call, Provider, Wire, answers
from tests.support.waiting import closed_gate, eventually, wait_until


@pytest.fixture
def small_service(settings: Settings, sql: Sql, provider: Provider) -> Iterator[TestClient]:
    """A chat service that works on two requests at a time, one of each client, and lets one of each wait."""
    small = settings.model_copy(
        update={
            "REQUESTS_PER_PROCESS": 2,
            "REQUESTS_PER_CLIENT": 1,
            "QUEUED_REQUESTS_PER_PROCESS": 2,
            "QUEUED_REQUESTS_PER_CLIENT": 1,
            "REQUEST_QUEUE_TIMEOUT": 0.3,
        }
    )
    with TestClient(main.create(small)) as client:
        yield client


class Lists:
    """Lists of sessions that wait for a gate, each requested in a thread."""

    def __init__(self, client: TestClient, monkeypatch: pytest.MonkeyPatch, gate: threading.Event) -> None:
        self.client = client
        self.started = 0
        self.threads = ThreadPoolExecutor(20)
        original = SessionLister.list_sessions

        async def wait_and_list(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
            self.started += 1
            await eventually(gate.is_set)
            return await original(*arguments, **options)

        monkeypatch.setattr(SessionLister, "list_sessions", wait_and_list)

    def get(self, user: User) -> Any:  # noqa: ANN401 - a response
        return self.client.get(f"{CHAT}/sessions", headers=user.headers)

    def start(self, user: User) -> Any:  # noqa: ANN401 - a future
        return self.threads.submit(self.get, user)


def gated(gate: threading.Event) -> Behaviour:
    """Answer when the gate is open."""

    async def behave(call: Call, wire: Wire) -> None:
        await eventually(gate.is_set)
        await answers("Hello.")(call, wire)

    return behave


def test_client_over_its_share_is_refused_and_others_are_served(
    small_service: TestClient, make_user: Callable[[str], User], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = make_user("ada"), make_user("bob")
    with closed_gate() as gate:
        lists = Lists(small_service, monkeypatch, gate)
        running = lists.start(ada)
        wait_until(lambda: lists.started == 1)
        refused = lists.get(ada)  # after its time in the queue
        problem = assert_problem(refused, 429, "too_many_requests")
        assert refused.headers["Retry-After"] == "1"
        assert "progress" in problem["detail"]
        other = lists.start(bob)
        wait_until(lambda: lists.started == 2)
        # All places are taken, by others.
        refused = small_service.get(f"{CHAT}/sessions")
        assert_problem(refused, 503, "overloaded")
        assert refused.headers["Retry-After"] == "1"
        for path in ("/health", "/livez", "/readyz"):
            assert small_service.get(path).status_code == 200
        gate.set()
        assert [task.result().status_code for task in (running, other)] == [200, 200]


def wait_for_calls(provider: Provider, count: int) -> None:
    wait_until(lambda: len(provider.calls) == count)


def remaining(response: Any) -> int:  # noqa: ANN401 - a response
    return int(response.headers["RateLimit"].split("r=")[1].split(";")[0])


def test_refused_requests_are_not_counted(
    small_service: TestClient, make_user: Callable[[str], User], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = make_user("ada")
    before = remaining(small_service.get(f"{CHAT}/sessions", headers=ada.headers))
    with closed_gate() as gate:
        lists = Lists(small_service, monkeypatch, gate)
        running = lists.start(ada)
        wait_until(lambda: lists.started == 1)
        assert "RateLimit" not in lists.get(ada).headers
        gate.set()
        after = remaining(running.result())
    assert after == before - 1


def test_waiting_for_the_model_occupies_no_place(
    small_service: TestClient, make_user: Callable[[str], User], provider: Provider
) -> None:
    ada = make_user("ada")
    chat = Chat(small_service, ada)
    sessions = [chat.open() for _ in range(5)]
    with closed_gate() as gate, ThreadPoolExecutor(20) as threads:
        provider.always(gated(gate))
        asked = []
        for number, session in enumerate(sessions):
            asked.append(threads.submit(chat.ask, session, "Hi"))
            wait_for_calls(provider, number + 1)
        assert chat.request("GET", "/sessions").status_code == 200
        gate.set()
        assert [task.result()["ai_response"]["content"] for task in asked] == ["Hello."] * 5


@pytest.mark.parametrize(("operation", "statement"), [("delete", "remove"), ("archive", "set_active")])
def test_changes_of_many_sessions_occupy_no_place(
    small_service: TestClient,
    make_user: Callable[[str], User],
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    statement: str,
) -> None:
    chats = [Chat(small_service, make_user(name)) for name in ("ada", "bob")]
    bodies = [{"session_ids": [chat.open()]} for chat in chats]
    started = 0
    original = getattr(session_batches, statement)

    async def wait_and_change(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
        nonlocal started
        started += 1
        await eventually(gate.is_set)
        return await original(*arguments, **options)

    monkeypatch.setattr(session_batches, statement, wait_and_change)
    path = f"/sessions/{operation}"
    with closed_gate() as gate, ThreadPoolExecutor(20) as threads:
        changes = []
        for chat, body in zip(chats, bodies, strict=True):
            changes.append(threads.submit(chat.request, "POST", path, json=body))
            wait_until(lambda: started == len(changes))
        for chat in chats:
            assert chat.request("GET", "/sessions").status_code == 200
        refused = chats[0].request("POST", path, json=bodies[0])
        assert_problem(refused, 429, "too_many_requests")  # long requests have a share of their own
        gate.set()
        assert [change.result().json()["changed"] for change in changes] == [1, 1]


def test_open_streams_occupy_no_place(
    small_service: TestClient, make_user: Callable[[str], User], provider: Provider
) -> None:
    ada = make_user("ada")
    chat = Chat(small_service, ada)
    sessions = [chat.open() for _ in range(4)]
    with closed_gate() as gate, ThreadPoolExecutor(20) as threads:
        provider.always(gated(gate))
        path = f"{CHAT}/sessions/{{}}/messages/stream"
        streams = []
        for number, session in enumerate(sessions):
            streams.append(
                threads.submit(small_service.post, path.format(session), json={"message": "Hi"}, headers=ada.headers)
            )
            wait_for_calls(provider, number + 1)
        assert chat.request("GET", "/sessions").status_code == 200
        gate.set()
        assert [stream.result().status_code for stream in streams] == [200] * 4


@pytest.mark.parametrize("stream", [False, True])
def test_waiting_for_a_chat_completion_occupies_no_place(
    small_service: TestClient, make_user: Callable[[str], User], provider: Provider, *, stream: bool
) -> None:
    ada = make_user("ada")
    body = {"model": "gpt-primary", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    with closed_gate() as gate, ThreadPoolExecutor(20) as threads:
        provider.always(gated(gate))
        asked = []
        for number in range(3):
            asked.append(threads.submit(small_service.post, "/v1/chat/completions", json=body, headers=ada.headers))
            wait_for_calls(provider, number + 1)
        assert small_service.get(f"{CHAT}/sessions", headers=ada.headers).status_code == 200
        gate.set()
        assert [task.result().status_code for task in asked] == [200] * 3


def test_waiting_for_the_answer_to_a_repeated_request_occupies_no_place(
    small_service: TestClient, make_user: Callable[[str], User], provider: Provider
) -> None:
    ada = make_user("ada")
    body = {"model": "gpt-primary", "messages": [{"role": "user", "content": "Hi"}]}
    headers = ada.headers | {"Idempotency-Key": "key"}
    with closed_gate() as gate, ThreadPoolExecutor(20) as threads:
        provider.always(gated(gate))
        asked = []
        for _ in range(2):
            asked.append(threads.submit(small_service.post, "/v1/chat/completions", json=body, headers=headers))
            wait_for_calls(provider, 1)
        for _ in range(10):
            assert small_service.get(f"{CHAT}/sessions", headers=ada.headers).status_code == 200
            time.sleep(0.05)
        gate.set()
        assert [task.result().status_code for task in asked] == [200] * 2


@pytest.fixture
def few_questions(settings: Settings, sql: Sql, provider: Provider) -> Iterator[TestClient]:
    """A chat service in which an account may wait for two answers, and all accounts for three."""
    few = settings.model_copy(update={"QUESTIONS_PER_USER": 2, "OPEN_ANSWERS_PER_PROCESS": 3})
    with TestClient(main.create(few)) as client:
        yield client


def test_questions_in_progress_are_limited_per_account_and_process(
    few_questions: TestClient, make_user: Callable[[str], User], provider: Provider
) -> None:
    chats = [Chat(few_questions, make_user(name)) for name in ("ada", "bob")]
    with closed_gate() as gate, ThreadPoolExecutor(20) as threads:
        provider.always(gated(gate))
        asked = [threads.submit(chat.ask, chat.open(), "Hi") for chat in (chats[0], chats[0], chats[1])]
        wait_until(lambda: len(provider.calls) == 3)
        body = {"message": "Hi"}
        assert_problem(chats[0].request("POST", "/direct", json=body), 429, "too_many_questions")
        assert_problem(chats[1].request("POST", "/direct", json=body), 503, "overloaded")
        assert_problem(chats[1].request("POST", "/direct/stream", json=body), 503, "overloaded")
        completion = {"model": "gpt-primary", "messages": [{"role": "user", "content": "Hi"}]}
        refused = few_questions.post("/v1/chat/completions", json=completion, headers=chats[0].user.headers)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "too_many_questions"
        gate.set()
        assert Counter(task.result()["ai_response"]["content"] for task in asked) == {"Hello.": 3}


async def test_bodies_end_in_bounded_time() -> None:
    sent: list[dict[str, Any]] = []
    parts = 0

    async def receive() -> dict[str, Any]:
        nonlocal parts
        parts += 1
        await asyncio.sleep(0.02)  # never idle, and never complete
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Any) -> None:  # noqa: ANN401 - an ASGI message
        sent.append(message)

    async def app(*_: object) -> None:
        pytest.fail("the body is not complete")

    middleware = RequestBodyMiddleware(app, max_bytes=1000, max_seconds=0.1, streamed_paths=())
    scope = {"type": "http", "path": "/", "method": "POST", "headers": [(b"content-length", b"900")]}
    await asyncio.wait_for(middleware(scope, receive, send), 10)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert parts < 50


async def test_the_rest_of_a_large_body_ends_in_bounded_time() -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.01)  # never idle, and never complete
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Any) -> None:  # noqa: ANN401 - an ASGI message
        sent.append(message)

    app = FastAPI()

    @app.post("/large")
    async def take(_body: dict[str, str]) -> None:
        pytest.fail("the body is not complete")

    app.add_middleware(BodyLimitMiddleware, max_bytes=10, max_bytes_by_path={"/large": 10_000}, max_seconds=0.2)
    app.add_middleware(RequestBodyMiddleware, max_bytes=10, max_seconds=10, streamed_paths=())
    headers = [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "path": "/large", "method": "POST", "query_string": b"", "headers": headers, "state": {}}
    await asyncio.wait_for(app(scope, receive, send), 10)
    assert sent[0]["status"] == 408


async def test_received_bodies_are_passed_on_completely() -> None:
    messages = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"b", "more_body": False},
        {"type": "http.disconnect"},
    ]
    source = iter(messages)

    async def receive() -> Any:  # noqa: ANN401 - an ASGI message
        return next(source)

    async def send(_message: Any) -> None:  # noqa: ANN401 - an ASGI message
        pass

    async def received_by_app() -> AsyncIterator[Any]:
        received: list[Any] = []

        async def app(_scope: object, receive_again: Any, _send: object) -> None:  # noqa: ANN401 - an ASGI callable
            received.extend([await receive_again() for _ in range(3)])

        middleware = RequestBodyMiddleware(app, max_bytes=10, max_seconds=10, streamed_paths=())
        scope = {"type": "http", "path": "/", "method": "POST", "headers": [(b"transfer-encoding", b"chunked")]}
        await middleware(scope, receive, send)
        for message in received:
            yield message

    assert [message async for message in received_by_app()] == messages
