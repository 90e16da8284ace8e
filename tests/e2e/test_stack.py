"""The running system, through the gateway, and its logs."""

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
from tests.e2e.conftest import ADMIN_PASSWORD, PASSWORD, UserClient
from tests.fixtures.database import Sql
from tests.fixtures.streaming import Reader, text_of
from tests.support.waiting import LONGEST_WAIT, wait_until

pytestmark = pytest.mark.e2e

SERVICES = ["auth", "chat", "admin"]


def component(stack: Stack, name: str) -> Component:
    return next(each for each, _ in stack._components if each.name == name)


def process(stack: Stack, name: str) -> psutil.Process:
    return psutil.Process(recorded_processes(stack.home)[name].pid)


def kill(stack: Stack, name: str) -> Component:
    """Kill a component of the stack with SIGKILL. It can be started again."""
    process(stack, name).kill()
    killed = component(stack, name)
    killed.stop()
    return killed


def log_lines(stack: Stack, name: str) -> list[dict[str, Any]]:
    lines = (stack.home / "logs" / f"{name}.log").read_text().splitlines(keepends=True)
    lines = [line for line in lines if line.endswith("\n")]  # the last one may not have been written to its end
    if name == "nginx":  # without the error log, which is not JSON
        lines = [line for line in lines if line.startswith("{")]
    return [json.loads(line) for line in lines]


def wait_for_log(stack: Stack, name: str) -> list[dict[str, Any]]:
    """Wait for the first log lines of a component: the worker has no readiness check."""
    wait_until(lambda: log_lines(stack, name))
    return log_lines(stack, name)


def lines_of_request(stack: Stack, name: str, request_id: str) -> list[dict[str, Any]]:
    """Wait for the log lines of a component about a request."""

    def lines() -> list[dict[str, Any]]:
        return [line for line in log_lines(stack, name) if line.get("request_id") == request_id]

    wait_until(lines)
    return lines()


def open_session(user: UserClient, **fields: object) -> str:
    response = user.client.post("/api/v1/chat/sessions", json=fields)
    assert response.status_code == 201, response.text
    return str(response.json()["session_id"])


def ask(user: UserClient, session: str, message: str, **options: object) -> httpx.Response:
    return user.client.post(f"/api/v1/chat/sessions/{session}/messages", json={"message": message, **options})


def answer(user: UserClient, session: str, message: str) -> dict[str, Any]:
    response = ask(user, session, message)
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


def test_health_of_the_system_and_of_each_service(anonymous: httpx.Client) -> None:
    wait_until(lambda: anonymous.get("/health").json()["status"] == "healthy")  # later if the machine is busy
    whole = anonymous.get("/health")
    assert whole.status_code == 200
    assert whole.json()["status"] == "healthy"
    for service in SERVICES:
        one = anonymous.get(f"/health/{service}")
        assert one.status_code == 200
        assert (one.json()["service"], one.json()["status"]) == (f"{service}-service", "healthy")
        assert whole.json()["services"][service] == one.json()
    assert anonymous.get("/health/chat").json()["graph_ready"] is True


def test_second_question_is_answered_with_the_history(make_user_client: Callable[[str], UserClient]) -> None:
    ada = make_user_client("ada")
    session = open_session(ada, title="Names")
    first = answer(ada, session, "My name is Ada.")
    second = answer(ada, session, "What is my name?")
    for given, history in ((first, 0), (second, 2)):
        assert given["status"] == "complete"
        assert given["content"]
        assert given["tokens_used"] > 0
        assert given["processing_time_ms"] > 0
        assert given["metadata"]["history_messages"] == history
    # The input tokens include the history.
    assert second["metadata"]["tokens_used"]["input"] > first["metadata"]["tokens_used"]["input"]
    assert "Ada" in second["content"]
    stored = ada.client.get(f"/api/v1/chat/sessions/{session}").json()
    assert [message["content"] for message in stored["messages"]] == [
        "My name is Ada.",
        first["content"],
        "What is my name?",
        second["content"],
    ]


def test_first_admin_can_read_the_overview(
    anonymous: httpx.Client, make_user_client: Callable[[str], UserClient]
) -> None:
    user = make_user_client("figures")
    answer(user, open_session(user), "Hi")
    form = {"username": "admin@example.com", "password": ADMIN_PASSWORD}
    token = anonymous.post("/api/v1/auth/login", data=form).json()["access_token"]
    overview = anonymous.get("/api/v1/admin/overview", headers={"Authorization": f"Bearer {token}"}).json()
    assert overview["turns"]["total"] >= 1
    assert overview["tokens"]["total"] > 0
    assert user.client.get("/api/v1/admin/overview").status_code == 403


def test_model_outage_gives_the_fallback_message_and_recovers(
    stack: Stack, make_user_client: Callable[[str], UserClient]
) -> None:
    user = make_user_client("patient")
    session = open_session(user)
    model = kill(stack, "model")
    try:
        failed = answer(user, session, "Is anybody there?")
    finally:
        model.start()
    assert (failed["status"], failed["content"]) == ("failed", FALLBACK_RESPONSE)
    assert failed["metadata"]["fallback"] is True
    stored = user.client.get(f"/api/v1/chat/sessions/{session}").json()["messages"][1]
    assert (stored["id"], stored["status"]) == (failed["id"], "failed")
    assert stored["metadata"]["fallback"] is True
    assert answer(user, session, "And now?")["status"] == "complete"


def test_stopping_service_completes_the_running_turn(
    stack: Stack, make_user_client: Callable[[str], UserClient]
) -> None:
    user = make_user_client("unhurried")
    session = open_session(user)
    model, service = process(stack, "model"), component(stack, "chat-service")
    model.suspend()
    with ThreadPoolExecutor(2) as pool:
        # A short answer: on a busy machine, the model must finish it within the grace period.
        asked = pool.submit(ask, user, session, "Hi", max_tokens=4)
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
    stored = user.client.get(f"/api/v1/chat/sessions/{session}").json()["messages"]
    assert [message["status"] for message in stored] == ["complete", "complete"]


def test_stored_answer_survives_a_killed_service(stack: Stack, make_user_client: Callable[[str], UserClient]) -> None:
    user = make_user_client("survivor")
    session = open_session(user)
    content = answer(user, session, "Hi")["content"]
    service = kill(stack, "chat-service")
    assert_gateway_problem(user.client.get(f"/api/v1/chat/sessions/{session}"), 502, "bad_gateway")
    assert user.client.get("/health").json()["status"] == "degraded"
    assert user.client.get("/api/v1/auth/me").status_code == 200
    service.start()
    stored = user.client.get(f"/api/v1/chat/sessions/{session}").json()["messages"]
    assert [message["content"] for message in stored] == ["Hi", content]


def test_request_id_is_the_same_in_all_logs(stack: Stack, make_user_client: Callable[[str], UserClient]) -> None:
    user = make_user_client("traced")
    session = open_session(user)
    offered = uuid4().hex
    response = user.client.post(
        f"/api/v1/chat/sessions/{session}/messages", json={"message": "Hi"}, headers={"X-Request-ID": offered}
    )
    request_id = response.headers["X-Request-ID"]
    assert request_id != offered  # the client's header is overwritten
    assert response.headers.get_list("X-Request-ID") == [request_id]
    for name in ("nginx", "chat-service"):
        (line,) = lines_of_request(stack, name, request_id)
        assert line["status"] == 200
    problem = user.client.get(f"/api/v1/chat/sessions/{uuid4()}")
    assert problem.json()["request_id"] == problem.headers["X-Request-ID"]
    assert offered not in (stack.home / "logs" / "chat-service.log").read_text()


def test_killed_worker_is_reported_as_failure(stack: Stack) -> None:
    worker = component(stack, "worker")
    assert stack.failures() == {}
    process(stack, "worker").kill()
    wait_until(lambda: worker in stack.failures())
    worker.stop()
    worker.start()


def test_logs_are_json_without_secrets_and_message_texts(
    stack: Stack, make_user_client: Callable[[str], UserClient]
) -> None:
    canary = uuid4().hex
    user = make_user_client("discreet")
    session = open_session(user, title=f"title {canary}", context={"note": canary})
    answer(user, session, f"message {canary}")
    user.client.get("/api/v1/chat/sessions", params={"search": canary})
    user.client.post("/api/v1/auth/login", data={"username": "discreet", "password": canary})
    last = user.client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {canary}"})
    lines_of_request(stack, "auth-service", last.headers["X-Request-ID"])
    names = ["auth-service", "chat-service", "admin-service", "worker", "nginx"]
    for name in names:
        assert wait_for_log(stack, name)
        text = (stack.home / "logs" / f"{name}.log").read_text()
        tokens = (user.tokens["access_token"], user.tokens["refresh_token"])
        for secret in (canary, PASSWORD, ADMIN_PASSWORD, *tokens):
            assert secret not in text
        assert stack.settings["SECRET_KEY"] not in text
    for line in log_lines(stack, "chat-service"):
        assert {"timestamp", "level", "logger", "message", "request_id", "service"} <= line.keys()


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1", "/api/v1/unknown/x", "/livez", "/readyz", "/metrics", "/docs"])
def test_internal_paths_are_not_found(anonymous: httpx.Client, path: str) -> None:
    assert_gateway_problem(anonymous.get(path), 404, "not_found")


def test_gateway_rejects_large_bodies(stack: Stack, make_user_client: Callable[[str], UserClient]) -> None:
    user = make_user_client("verbose")
    session = open_session(user)
    response = ask(user, session, "x" * 1_100_000)
    assert_gateway_problem(response, 413, "content_too_large")
    (line,) = lines_of_request(stack, "nginx", response.headers["X-Request-ID"])
    assert line["upstream"] == ""
    assert user.client.get(f"/api/v1/chat/sessions/{session}").json()["message_count"] == 0


def test_gateway_rejects_large_request_lines_and_headers(anonymous: httpx.Client) -> None:
    assert_gateway_problem(anonymous.get(f"/{'x' * 10_000}"), 414, "uri_too_long")
    headers = {"X-Padding": "x" * 10_000}
    assert_gateway_problem(anonymous.get("/health", headers=headers), 431, "request_header_fields_too_large")


def test_invalid_http_gets_a_problem_document(stack: Stack) -> None:
    address = (urlsplit(stack.url).hostname, stack.ports.gateway)
    with socket.create_connection(address, timeout=LONGEST_WAIT) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
        answer = connection.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 400 ")
    assert "application/problem+json" in answer


def test_login_address_ignores_forwarded_headers_of_clients(
    stack: Stack, make_user_client: Callable[[str], UserClient]
) -> None:
    user = make_user_client("elsewhere")
    forged = {"X-Forwarded-For": "203.0.113.7", "X-Real-IP": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    form = {"username": "elsewhere", "password": PASSWORD}
    assert user.client.post("/api/v1/auth/login", data=form, headers=forged).status_code == 200
    database = Sql(stack.settings["DATABASE_URL"])
    addresses = database.rows(
        """
        SELECT DISTINCT host(ip) AS ip FROM auth_sessions JOIN users ON users.id = user_id WHERE username = 'elsewhere'
        """
    )
    database.close()
    assert [row["ip"] for row in addresses] == ["127.0.0.1"]


def test_twenty_concurrent_requests_are_answered(make_user_client: Callable[[str], UserClient]) -> None:
    user = make_user_client("crowd")
    with ThreadPoolExecutor(20) as pool:
        sessions = list(pool.map(lambda _: open_session(user), range(20)))
        listed = list(pool.map(lambda _: user.client.get("/api/v1/chat/sessions?size=100"), range(20)))
    assert len(set(sessions)) == 20
    assert [len(response.json()["sessions"]) for response in listed] == [20] * 20


def _wait_until_pending(stack: Stack, session: str) -> None:
    database = Sql(stack.settings["DATABASE_URL"])
    statement = (
        "SELECT count(*) FROM chat_messages JOIN chat_sessions ON chat_sessions.id = session_id"
        " WHERE chat_sessions.uuid = %s AND status = 'pending'"
    )
    wait_until(lambda: database.value(statement, [session]))
    database.close()


def test_stream_through_the_gateway_can_be_resumed(
    make_user_client: Callable[[str], UserClient],
) -> None:
    user = make_user_client("listener")
    session = open_session(user)
    path = f"/api/v1/chat/sessions/{session}/messages"
    arrivals: list[float] = []
    with user.client.stream("POST", f"{path}/stream", json={"message": "Count from one to twenty."}) as response:
        assert response.status_code == 200
        events = []
        for event in Reader(response):
            arrivals.append(time.monotonic())
            events.append(event)
    assert events[0].name == "message.created"
    assert events[-1].name == "message.completed"
    # Events arrive one by one: nothing buffers the response.
    assert len(events) > 3
    assert arrivals[-1] - arrivals[1] > 0.02
    message = events[-1].data["message"]
    assert text_of(events) == message["content"]
    middle = events[len(events) // 2].id
    with user.client.stream(
        "GET", f"{path}/{message['id']}/events", headers={"Last-Event-ID": str(middle)}
    ) as response:
        rest = list(Reader(response))
    assert text_of(rest) == message["content"][middle:]
    assert rest[-1] == events[-1]
    stopped = user.client.post(f"{path}/{message['id']}/cancel")
    assert (stopped.status_code, stopped.json()["status"]) == (200, "complete")
