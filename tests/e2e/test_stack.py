"""What a client sees of the running system, and what its logs tell."""

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psutil
import pytest

from app.graph.prompts import FALLBACK_RESPONSE
from local.component import Component
from local.orphans import recorded_processes
from local.stack import Stack
from tests.e2e.conftest import ADMIN_PASSWORD, PASSWORD, Visitor
from tests.fixtures.database import Sql
from tests.fixtures.streaming import Reader, text_of

pytestmark = pytest.mark.e2e

SERVICES = ["auth", "chat", "admin"]


def part(stack: Stack, name: str) -> Component:
    return next(part for part, _ in stack._components if part.name == name)


def process(stack: Stack, name: str) -> psutil.Process:
    return psutil.Process(recorded_processes(stack.home)[name].pid)


def kill(stack: Stack, name: str) -> Component:
    """Kill a part of the stack as a crash would. It can be started again."""
    process(stack, name).kill()
    killed = part(stack, name)
    killed.stop()
    return killed


def log_lines(stack: Stack, name: str) -> list[dict[str, Any]]:
    lines = (stack.home / "logs" / f"{name}.log").read_text().splitlines()
    if name == "nginx":  # whose error log has a format of its own
        lines = [line for line in lines if line.startswith("{")]
    return [json.loads(line) for line in lines]


def wait_for_log(stack: Stack, name: str) -> list[dict[str, Any]]:
    """Wait for the first lines of a part: nobody waits for the worker to have started."""
    deadline = time.monotonic() + 20
    while not (lines := log_lines(stack, name)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return lines


def lines_of_request(stack: Stack, name: str, request_id: str) -> list[dict[str, Any]]:
    """Wait for the lines that a part logs when a request is over."""
    deadline = time.monotonic() + 5
    while not (lines := [line for line in log_lines(stack, name) if line.get("request_id") == request_id]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return lines


def open_session(visitor: Visitor, **fields: object) -> str:
    response = visitor.client.post("/api/v1/chat/sessions", json=fields)
    assert response.status_code == 201, response.text
    return str(response.json()["session_id"])


def ask(visitor: Visitor, session: str, message: str) -> httpx.Response:
    return visitor.client.post(f"/api/v1/chat/sessions/{session}/messages", json={"message": message})


def answer(visitor: Visitor, session: str, message: str) -> dict[str, Any]:
    response = ask(visitor, session, message)
    assert response.status_code == 200, response.text
    return dict(response.json()["ai_response"])


def assert_gateway_problem(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem.keys() == {"type", "title", "status", "detail", "code", "request_id"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert "nginx" not in response.text.lower()


def test_health_of_the_whole_and_of_each_service(anonymous: httpx.Client) -> None:
    whole = anonymous.get("/health")
    assert whole.status_code == 200
    assert whole.json()["status"] == "healthy"
    for service in SERVICES:
        one = anonymous.get(f"/health/{service}")
        assert one.status_code == 200
        assert (one.json()["service"], one.json()["status"]) == (f"{service}-service", "healthy")
        assert whole.json()["services"][service] == one.json()
    assert anonymous.get("/health/chat").json()["graph_ready"] is True


def test_two_questions_of_which_the_second_needs_the_first(make_visitor: Callable[[str], Visitor]) -> None:
    ada = make_visitor("ada")
    session = open_session(ada, title="Names")
    first = answer(ada, session, "My name is Ada.")
    second = answer(ada, session, "What is my name?")
    for given, history in ((first, 0), (second, 2)):
        assert given["status"] == "complete"
        assert given["content"]
        assert given["tokens_used"] > 0
        assert given["processing_time_ms"] > 0
        assert given["metadata"]["history_messages"] == history
    # The model counted the history too.
    assert second["metadata"]["tokens_used"]["input"] > first["metadata"]["tokens_used"]["input"]
    assert "Ada" in second["content"]
    stored = ada.client.get(f"/api/v1/chat/sessions/{session}").json()
    assert [message["content"] for message in stored["messages"]] == [
        "My name is Ada.",
        first["content"],
        "What is my name?",
        second["content"],
    ]


def test_the_first_admin_sees_the_figures(anonymous: httpx.Client, make_visitor: Callable[[str], Visitor]) -> None:
    visitor = make_visitor("figures")
    answer(visitor, open_session(visitor), "Hi")
    form = {"username": "admin@example.com", "password": ADMIN_PASSWORD}
    token = anonymous.post("/api/v1/auth/login", data=form).json()["access_token"]
    overview = anonymous.get("/api/v1/admin/overview", headers={"Authorization": f"Bearer {token}"}).json()
    assert overview["turns"]["total"] >= 1
    assert overview["tokens"]["total"] > 0
    assert visitor.client.get("/api/v1/admin/overview").status_code == 403


def test_without_the_model_the_answer_says_so_and_the_next_one_works(
    stack: Stack, make_visitor: Callable[[str], Visitor]
) -> None:
    visitor = make_visitor("patient")
    session = open_session(visitor)
    model = kill(stack, "model")
    try:
        failed = answer(visitor, session, "Is anybody there?")
    finally:
        model.start()
    assert (failed["status"], failed["content"]) == ("failed", FALLBACK_RESPONSE)
    assert failed["metadata"]["fallback"] is True
    stored = visitor.client.get(f"/api/v1/chat/sessions/{session}").json()["messages"][1]
    assert (stored["id"], stored["status"]) == (failed["id"], "failed")
    assert stored["metadata"]["fallback"] is True
    assert answer(visitor, session, "And now?")["status"] == "complete"


def test_a_service_that_is_told_to_stop_answers_first(stack: Stack, make_visitor: Callable[[str], Visitor]) -> None:
    visitor = make_visitor("unhurried")
    session = open_session(visitor)
    model, service = process(stack, "model"), part(stack, "chat-service")
    model.suspend()
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(ask, visitor, session, "Hi")
        _wait_until_pending(stack, session)
        stopped = pool.submit(service.stop)
        time.sleep(0.5)
        assert not stopped.done()
        model.resume()
        response = asked.result()
        stopped.result()
    service.start()
    assert response.status_code == 200, response.text
    assert response.json()["ai_response"]["status"] == "complete"
    stored = visitor.client.get(f"/api/v1/chat/sessions/{session}").json()["messages"]
    assert [message["status"] for message in stored] == ["complete", "complete"]


def test_what_was_answered_survives_a_kill_of_the_service(stack: Stack, make_visitor: Callable[[str], Visitor]) -> None:
    visitor = make_visitor("survivor")
    session = open_session(visitor)
    content = answer(visitor, session, "Hi")["content"]
    service = kill(stack, "chat-service")
    assert_gateway_problem(visitor.client.get(f"/api/v1/chat/sessions/{session}"), 502, "bad_gateway")
    assert visitor.client.get("/health").json()["status"] == "degraded"
    assert visitor.client.get("/api/v1/auth/me").status_code == 200
    service.start()
    stored = visitor.client.get(f"/api/v1/chat/sessions/{session}").json()["messages"]
    assert [message["content"] for message in stored] == ["Hi", content]


def test_one_request_id_from_the_gateway_through_every_log(
    stack: Stack, make_visitor: Callable[[str], Visitor]
) -> None:
    visitor = make_visitor("traced")
    session = open_session(visitor)
    offered = uuid4().hex
    response = visitor.client.post(
        f"/api/v1/chat/sessions/{session}/messages", json={"message": "Hi"}, headers={"X-Request-ID": offered}
    )
    request_id = response.headers["X-Request-ID"]
    assert request_id != offered  # the client's is overwritten
    assert response.headers.get_list("X-Request-ID") == [request_id]
    for name in ("nginx", "chat-service"):
        (line,) = lines_of_request(stack, name, request_id)
        assert line["status"] == 200
    problem = visitor.client.get(f"/api/v1/chat/sessions/{uuid4()}")
    assert problem.json()["request_id"] == problem.headers["X-Request-ID"]
    assert offered not in (stack.home / "logs" / "chat-service.log").read_text()


def test_a_worker_that_ends_is_missed_like_a_service(stack: Stack) -> None:
    worker = part(stack, "worker")
    assert stack.failures() == {}
    process(stack, "worker").kill()
    deadline = time.monotonic() + 5
    while worker not in stack.failures():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker.stop()
    worker.start()


def test_logs_are_json_and_hold_no_secret_and_nothing_that_was_said(
    stack: Stack, make_visitor: Callable[[str], Visitor]
) -> None:
    canary = uuid4().hex
    visitor = make_visitor("discreet")
    session = open_session(visitor, title=f"title {canary}", context={"note": canary})
    answer(visitor, session, f"message {canary}")
    visitor.client.get("/api/v1/chat/sessions", params={"search": canary})
    visitor.client.post("/api/v1/auth/login", data={"username": "discreet", "password": canary})
    last = visitor.client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {canary}"})
    lines_of_request(stack, "auth-service", last.headers["X-Request-ID"])
    names = ["auth-service", "chat-service", "admin-service", "worker", "nginx"]
    for name in names:
        assert wait_for_log(stack, name)
        text = (stack.home / "logs" / f"{name}.log").read_text()
        tokens = (visitor.tokens["access_token"], visitor.tokens["refresh_token"])
        for secret in (canary, PASSWORD, ADMIN_PASSWORD, *tokens):
            assert secret not in text
        assert stack.settings["SECRET_KEY"] not in text
    for line in log_lines(stack, "chat-service"):
        assert {"timestamp", "level", "logger", "message", "request_id", "service"} <= line.keys()


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1", "/api/v1/unknown/x", "/livez", "/readyz", "/metrics", "/docs"])
def test_what_is_not_public_is_not_found(anonymous: httpx.Client, path: str) -> None:
    assert_gateway_problem(anonymous.get(path), 404, "not_found")


def test_bodies_are_capped_before_they_reach_a_service(stack: Stack, make_visitor: Callable[[str], Visitor]) -> None:
    visitor = make_visitor("verbose")
    session = open_session(visitor)
    response = ask(visitor, session, "x" * 1_100_000)
    assert_gateway_problem(response, 413, "content_too_large")
    (line,) = lines_of_request(stack, "nginx", response.headers["X-Request-ID"])
    assert line["upstream"] == ""
    assert visitor.client.get(f"/api/v1/chat/sessions/{session}").json()["message_count"] == 0


def test_oversized_lines_and_headers_are_problems(anonymous: httpx.Client) -> None:
    assert_gateway_problem(anonymous.get(f"/{'x' * 10_000}"), 414, "uri_too_long")
    headers = {"X-Padding": "x" * 10_000}
    assert_gateway_problem(anonymous.get("/health", headers=headers), 431, "request_header_fields_too_large")


def test_what_is_no_http_is_a_problem(stack: Stack) -> None:
    address = (urlsplit(stack.url).hostname, stack.ports.gateway)
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
        answer = connection.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 400 ")
    assert "application/problem+json" in answer


def test_where_a_login_comes_from_cannot_be_forged(stack: Stack, make_visitor: Callable[[str], Visitor]) -> None:
    visitor = make_visitor("elsewhere")
    forged = {"X-Forwarded-For": "203.0.113.7", "X-Real-IP": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    form = {"username": "elsewhere", "password": PASSWORD}
    assert visitor.client.post("/api/v1/auth/login", data=form, headers=forged).status_code == 200
    database = Sql(stack.settings["DATABASE_URL"])
    addresses = database.rows(
        """
        SELECT DISTINCT host(ip) AS ip FROM auth_sessions JOIN users ON users.id = user_id WHERE username = 'elsewhere'
        """
    )
    database.close()
    assert [row["ip"] for row in addresses] == ["127.0.0.1"]


def test_twenty_visitors_at_once_are_all_answered(make_visitor: Callable[[str], Visitor]) -> None:
    visitor = make_visitor("crowd")
    with ThreadPoolExecutor(20) as pool:
        sessions = list(pool.map(lambda _: open_session(visitor), range(20)))
        listed = list(pool.map(lambda _: visitor.client.get("/api/v1/chat/sessions?size=100"), range(20)))
    assert len(set(sessions)) == 20
    assert [len(response.json()["sessions"]) for response in listed] == [20] * 20


def _wait_until_pending(stack: Stack, session: str) -> None:
    database = Sql(stack.settings["DATABASE_URL"])
    deadline = time.monotonic() + 10
    statement = (
        "SELECT count(*) FROM chat_messages JOIN chat_sessions ON chat_sessions.id = session_id"
        " WHERE chat_sessions.uuid = %s AND status = 'pending'"
    )
    while database.value(statement, [session]) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    database.close()


def test_an_answer_streams_through_the_gateway_and_can_be_followed_again(
    make_visitor: Callable[[str], Visitor],
) -> None:
    visitor = make_visitor("listener")
    session = open_session(visitor)
    path = f"/api/v1/chat/sessions/{session}/messages"
    arrivals: list[float] = []
    with visitor.client.stream("POST", f"{path}/stream", json={"message": "Count from one to twenty."}) as response:
        assert response.status_code == 200
        events = []
        for event in Reader(response):
            arrivals.append(time.monotonic())
            events.append(event)
    assert events[0].name == "message.created"
    assert events[-1].name == "message.completed"
    # Not all at once: nothing on the way waits for the end.
    assert len(events) > 3
    assert arrivals[-1] - arrivals[1] > 0.02
    message = events[-1].data["message"]
    assert text_of(events) == message["content"]
    middle = events[len(events) // 2].id
    with visitor.client.stream(
        "GET", f"{path}/{message['id']}/events", headers={"Last-Event-ID": str(middle)}
    ) as response:
        rest = list(Reader(response))
    assert text_of(rest) == message["content"][middle:]
    assert rest[-1] == events[-1]
    stopped = visitor.client.post(f"{path}/{message['id']}/cancel")
    assert (stopped.status_code, stopped.json()["status"]) == (200, "complete")
