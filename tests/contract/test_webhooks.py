"""Webhooks end to end: services, worker and receiver."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from standardwebhooks import Webhook

from app.config import Settings
from tests.fixtures.database import Sql
from tests.fixtures.processes import WorkerProcess
from tests.fixtures.services import ADMIN, User
from tests.fixtures.world import World
from tests.support.provider import Provider
from tests.support.receiver import Receiver, replies, running_receiver

Call = Callable[..., Response]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def delivering_worker(settings: Settings, home: Path) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(settings.model_copy(update={"WEBHOOK_ALLOWED_HOSTS": ["127.0.0.1"]}), home)
    yield worker
    worker.stop()


@pytest.fixture
def call(world: World) -> Call:
    def send(method: str, path: str = "", **fields: Any) -> Response:  # noqa: ANN401 - passed on
        response = world.services["admin"].request(
            method, f"{ADMIN}/webhooks{path}", headers=world.admin.headers, **fields
        )
        return response.raise_for_status()

    return send


def test_turn_event_is_signed_with_shown_secret(
    world: World, call: Call, delivering_worker: WorkerProcess, receiver: Receiver
) -> None:
    webhook = call("POST", json={"url": receiver.url, "events": ["session.created", "turn.completed"]}).json()
    chat = world.chat(world.owner)
    session = chat.open()
    answer = chat.ask(session, "A question of canaries.")["ai_response"]
    events = [
        Webhook(webhook["secret"]).verify(request.body, request.headers) for request in receiver.wait_for_requests(2)
    ]
    received = {event["type"]: event["data"] for event in events}
    assert set(received) == {"session.created", "turn.completed"}
    assert received["session.created"]["session_id"] == session
    assert received["turn.completed"]["message_id"] == answer["id"]
    for request in receiver.requests:
        for private in (b"canaries", answer["content"].encode(), world.owner.email.encode(), b'"ada"'):
            assert private not in request.body


def find_completed(call: Call, webhook: str) -> dict[str, Any] | None:
    """Return the only delivery of an endpoint once it is complete."""
    (delivery,) = call("GET", f"/{webhook}/deliveries").json()["deliveries"]
    return None if delivery["status"] == "pending" else dict(delivery)


def has_attempts(sql: Sql, count: int) -> bool:
    """Return whether that many attempts have been recorded."""
    return bool(sql.value("SELECT jsonb_array_length(log) FROM webhook_deliveries") == count)


def test_delivery_is_retried_and_can_be_repeated_by_admin(
    call: Call, delivering_worker: WorkerProcess, receiver: Receiver, sql: Sql
) -> None:
    webhook = call("POST", json={"url": receiver.url, "events": ["user.erased"]}).json()
    receiver.script(replies(500), replies(503, {"Set-Cookie": "canary"}), replies(404))
    event = call("POST", f"/{webhook['id']}/test").json()
    for count in range(1, 4):
        receiver.wait_for_requests(count)
        # Only now: the delivery is leased by the worker until its outcome is recorded.
        Provider.wait_until(partial(has_attempts, sql, count))
        assert find_completed(call, webhook["id"]) is None
        sql.do("UPDATE webhook_deliveries SET next_attempt_at = now()")
    Provider.wait_until(lambda: find_completed(call, webhook["id"]) is not None)
    delivery = call("GET", f"/{webhook['id']}/deliveries/{event['id']}").json()
    assert (delivery["status"], delivery["attempts"], delivery["response_status"]) == ("delivered", 4, 204)
    assert [entry["response"]["status"] for entry in delivery["log"]] == [500, 503, 404, 204]
    assert "canary" not in str(delivery)
    call("POST", f"/{webhook['id']}/deliveries/{event['id']}/redeliver")
    requests = receiver.wait_for_requests(5)
    assert {request.headers["webhook-id"] for request in requests} == {event["id"]}
    assert len({request.body for request in requests}) == 1
    for request in requests:
        Webhook(webhook["secret"]).verify(request.body, request.headers)


def test_rotated_and_previous_secrets_both_verify(
    call: Call, delivering_worker: WorkerProcess, receiver: Receiver
) -> None:
    webhook = call("POST", json={"url": receiver.url, "events": ["*"]}).json()
    rotated = call("POST", f"/{webhook['id']}/secret", json={"grace_hours": 1}).json()
    call("POST", f"/{webhook['id']}/test")
    (request,) = receiver.wait_for_requests(1)
    for secret in (webhook["secret"], rotated["secret"]):
        Webhook(secret).verify(request.body, request.headers)


def test_gone_endpoint_is_disabled_and_gets_pending_events_when_enabled(
    world: World, call: Call, delivering_worker: WorkerProcess, receiver: Receiver, ada: User
) -> None:
    webhook = call("POST", json={"url": receiver.url, "events": ["session.created"]}).json()
    receiver.script(replies(410))
    world.chat(ada).open()
    Provider.wait_until(lambda: not call("GET", f"/{webhook['id']}").json()["is_enabled"])
    assert call("GET", f"/{webhook['id']}").json()["disabled_reason"] == "gone"
    world.chat(ada).open()  # no delivery
    call("PATCH", f"/{webhook['id']}", json={"is_enabled": True})
    world.chat(ada).open()
    first, second = receiver.wait_for_requests(2)
    assert first.headers["webhook-id"] != second.headers["webhook-id"]


def test_internal_endpoint_receives_nothing(call: Call, worker: WorkerProcess, receiver: Receiver) -> None:
    webhook = call("POST", json={"url": receiver.url, "events": ["*"]}).json()
    event = call("POST", f"/{webhook['id']}/test").json()
    path = f"/{webhook['id']}/deliveries/{event['id']}"
    Provider.wait_until(lambda: call("GET", path).json()["error_code"] == "address_refused")
    assert receiver.connections == 0
