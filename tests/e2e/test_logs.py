"""Logs of the stack."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from local.stack import Stack
from tests.e2e.chat_requests import answer, open_session
from tests.e2e.conftest import ADMIN_PASSWORD, PASSWORD, UserClient
from tests.e2e.stack_control import lines_of_request, log_lines, wait_for_log

pytestmark = pytest.mark.e2e


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
