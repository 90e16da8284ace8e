"""The running system, through the gateway."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.chat_requests import answer, open_session
from tests.e2e.conftest import ADMIN_PASSWORD, UserClient
from tests.fixtures.streaming import Reader, text_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

SERVICES = ["auth", "chat", "admin"]


def test_health_of_the_system_and_of_each_service(anonymous: httpx.Client) -> None:
    wait_until(lambda: anonymous.get("/health").json()["status"] == "healthy")  # later if the machine is busy
    system_health = anonymous.get("/health")
    assert system_health.status_code == 200
    assert system_health.json()["status"] == "healthy"
    for service in SERVICES:
        service_health = anonymous.get(f"/health/{service}")
        assert service_health.status_code == 200
        assert (service_health.json()["service"], service_health.json()["status"]) == (f"{service}-service", "healthy")
        assert system_health.json()["services"][service] == service_health.json()
    assert anonymous.get("/health/chat").json()["graph_ready"] is True


def test_second_question_is_answered_with_the_history(make_user_client: Callable[[str], UserClient]) -> None:
    ada = make_user_client("historian")
    session = open_session(ada, title="Names")
    first = answer(ada, session, "My name is Ada.")
    second = answer(ada, session, "What is my name?")
    for given_answer, history in ((first, 0), (second, 2)):
        assert given_answer["status"] == "complete"
        assert given_answer["content"]
        assert given_answer["tokens_used"] > 0
        assert given_answer["processing_time_ms"] > 0
        assert given_answer["metadata"]["history_messages"] == history
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


def test_twenty_concurrent_requests_are_answered(make_user_client: Callable[[str], UserClient]) -> None:
    user = make_user_client("crowd")
    with ThreadPoolExecutor(20) as pool:
        sessions = list(pool.map(lambda _: open_session(user), range(20)))
        listed = list(pool.map(lambda _: user.client.get("/api/v1/chat/sessions?size=100"), range(20)))
    assert len(set(sessions)) == 20
    assert [len(response.json()["sessions"]) for response in listed] == [20] * 20


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
