"""Administration of webhook endpoints, their secrets and deliveries."""

import base64
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import SecretStr

from app import admin_main
from app.admin.webhooks import MAX_ENDPOINTS
from app.config import Settings
from app.core.webhook_secrets import WebhookSecrets
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, User, assert_problem

URL = "https://hooks.example.com/a-secret-of-the-receiver"
SHARED_SECRET = "whsec_" + base64.b64encode(b"1" * 32).decode()

Call = Callable[..., Response]


@pytest.fixture
def call(admin_client: TestClient, admin: User) -> Call:
    def send(method: str, path: str = "", **fields: Any) -> Response:  # noqa: ANN401 - passed on
        return admin_client.request(method, f"{ADMIN}/webhooks{path}", headers=admin.headers, **fields)

    return send


def create(call: Call, **fields: object) -> dict[str, Any]:
    response = call("POST", json={"url": URL, "events": ["*"], **fields})
    assert response.status_code == 201, response.text
    return dict(response.json())


def add_deliveries(sql: Sql, webhook: str, *statuses: str) -> list[str]:
    """Insert deliveries of an endpoint; return their event ids, oldest first."""
    rows = [
        sql.rows(
            "INSERT INTO webhook_deliveries (event_id, endpoint_id, type, data, status, next_attempt_at, attempts, log)"
            " SELECT gen_random_uuid(), id, 'user.erased', '{\"user_id\": \"x\"}', %(status)s,"
            " CASE %(status)s WHEN 'pending' THEN now() END, 1, '[{\"error\": \"timeout\"}]'"
            " FROM webhook_endpoints WHERE uuid = %(webhook)s RETURNING event_id",
            {"status": status, "webhook": webhook},
        )
        for status in statuses
    ]
    return [str(row["event_id"]) for (row,) in rows]


def audit_entries(sql: Sql) -> list[tuple[str, dict[str, Any]]]:
    rows = sql.rows("SELECT action, details FROM audit_log WHERE action LIKE 'webhook.%%' ORDER BY id")
    return [(row["action"], row["details"]) for row in rows]


def test_the_secret_is_returned_only_once(call: Call, settings: Settings) -> None:
    created = create(call, description="billing", events=["turn.completed"])
    secrets = WebhookSecrets.from_secret(settings.SECRET_KEY.get_secret_value())
    assert created["secret"] == secrets.own(UUID(created["id"]), 1)
    stored = call("GET", f"/{created['id']}").json()
    assert stored == {name: value for name, value in created.items() if name != "secret"}
    assert call("GET").json() == {"webhooks": [stored]}


def test_rotation_returns_a_new_secret_and_keeps_the_old_one_for_the_grace_period(call: Call, sql: Sql) -> None:
    created = create(call)
    assert created["previous_secret_until"] is None
    rotated = call("POST", f"/{created['id']}/secret", json={"grace_hours": 2}).json()
    assert rotated["secret"] != created["secret"]
    left = "SELECT round(extract(epoch FROM previous_secret_until - now()) / 3600, 1) FROM webhook_endpoints"
    assert sql.value(left) == 2
    at_once = call("POST", f"/{created['id']}/secret", json={"grace_hours": 0}).json()
    assert at_once["secret"] not in {rotated["secret"], created["secret"]}
    assert sql.value("SELECT previous_secret_until <= now() FROM webhook_endpoints") is True


def test_rotations_at_once_are_one_after_the_other(call: Call, sql: Sql, blocker: Sql, settings: Settings) -> None:
    created = create(call)
    blocker.do("BEGIN; SELECT FROM webhook_endpoints FOR UPDATE")
    with ThreadPoolExecutor(4) as pool:
        rotations = pool.map(lambda _: call("POST", f"/{created['id']}/secret", json={"grace_hours": 3}), range(4))
        sql.wait_for_blocked(4)
        blocker.do("COMMIT")
        rotated = {response.json()["secret"] for response in rotations}
    secrets = WebhookSecrets.from_secret(settings.SECRET_KEY.get_secret_value())
    assert rotated == {secrets.own(UUID(created["id"]), generation) for generation in (2, 3, 4, 5)}
    row = sql.rows("SELECT * FROM webhook_endpoints")[0]
    assert (row["secret_generation"], set(row["earlier_secrets_until"])) == (5, {"1", "2", "3"})
    hours = (
        "SELECT round(extract(epoch FROM value::timestamptz - now()) / 3600, 1) AS hours"
        " FROM webhook_endpoints, jsonb_each_text(earlier_secrets_until)"
    )
    assert {entry["hours"] for entry in sql.rows(hours)} == {3}


def test_number_of_valid_secrets_is_bounded(call: Call, sql: Sql) -> None:
    path = f"/{create(call)['id']}/secret"
    for _ in range(5):
        assert call("POST", path, json={"grace_hours": 1}).status_code == 200
    assert_problem(call("POST", path, json={"grace_hours": 1}), 409, "too_many_secrets")
    assert sql.value("SELECT secret_generation FROM webhook_endpoints") == 6
    # A secret that may have leaked can be replaced at any time, and expired ones do not count.
    assert call("POST", path, json={"grace_hours": 0}).status_code == 200
    sql.do(
        "UPDATE webhook_endpoints SET earlier_secrets_until = earlier_secrets_until"
        " || jsonb_build_object('1', now(), '2', now() - interval '1 s')"
    )
    assert call("POST", path, json={}).status_code == 200
    assert call("POST", path, json={}).status_code == 200
    assert sql.value("SELECT earlier_secrets_until ?| ARRAY['1', '2', '6'] FROM webhook_endpoints") is False


@pytest.fixture
def shared_secret_client(settings: Settings, admin_client: TestClient) -> Iterator[TestClient]:
    shared = settings.model_copy(update={"WEBHOOK_SECRET": SecretStr(SHARED_SECRET)})
    with TestClient(admin_main.create(shared)) as client:
        yield client


def test_endpoints_cannot_use_a_shared_secret_that_is_not_set(call: Call) -> None:
    body = {"url": URL, "events": ["*"], "uses_shared_secret": True}
    assert_problem(call("POST", json=body), 409, "no_shared_secret")
    created = create(call)
    refused = call("PATCH", f"/{created['id']}", json={"uses_shared_secret": True})
    assert_problem(refused, 409, "no_shared_secret")


def test_a_shared_secret_is_neither_returned_nor_rotated(shared_secret_client: TestClient, admin: User) -> None:
    body = {"url": URL, "events": ["*"], "uses_shared_secret": True}
    response = shared_secret_client.post(f"{ADMIN}/webhooks", json=body, headers=admin.headers)
    assert (response.status_code, response.json()["secret"]) == (201, None)
    assert SHARED_SECRET not in response.text
    path = f"{ADMIN}/webhooks/{response.json()['id']}/secret"
    assert_problem(shared_secret_client.post(path, json={}, headers=admin.headers), 409, "shared_secret")


def test_changes_are_recorded_in_the_audit_log_without_the_url(call: Call, sql: Sql) -> None:
    path = f"/{create(call)['id']}"
    changes = {"url": f"{URL}-2", "description": "billing", "events": ["user.erased"], "is_enabled": False}
    changed = call("PATCH", path, json=changes).json()
    assert changes.items() <= changed.items()
    assert call("PATCH", path, json=changes).json() == changed  # nothing to do, and nothing to note
    assert call("PATCH", path, json={"description": None}).json()["description"] is None
    call("POST", f"{path}/secret", json={})
    assert call("DELETE", path).status_code == 204
    assert_problem(call("GET", path), 404, "not_found")
    before = {"events": ["*"], "is_enabled": True, "uses_shared_secret": False}
    after = {"events": ["user.erased"], "is_enabled": False, "uses_shared_secret": False}
    assert audit_entries(sql) == [
        ("webhook.created", before),
        ("webhook.updated", {"changed": sorted(changes), "before": before, "after": after}),
        ("webhook.updated", {"changed": ["description"], "before": after, "after": after}),
        ("webhook.secret_rotated", {"grace_hours": 24}),
        ("webhook.deleted", {}),
    ]


def test_enabling_resets_the_disabled_reason_and_a_new_url_the_failure_state(call: Call, sql: Sql) -> None:
    path = f"/{create(call)['id']}"
    sql.do("UPDATE webhook_endpoints SET is_enabled = false, disabled_reason = 'failing', failing_since = now()")
    stored = call("GET", path).json()
    assert (stored["is_enabled"], stored["disabled_reason"]) == (False, "failing")
    assert stored["failing_since"] is not None
    assert_problem(call("POST", f"{path}/test"), 409, "webhook_disabled")
    moved = call("PATCH", path, json={"url": "https://elsewhere.example.com"}).json()
    assert (moved["failing_since"], moved["disabled_reason"]) == (None, "failing")
    sql.do("UPDATE webhook_endpoints SET failing_since = now()")
    enabled = call("PATCH", path, json={"is_enabled": True}).json()
    assert [enabled[name] for name in ("is_enabled", "disabled_reason", "failing_since")] == [True, None, None]


def test_concurrent_creation_does_not_exceed_the_maximum_number_of_endpoints(call: Call, sql: Sql) -> None:
    sql.do(
        "INSERT INTO webhook_endpoints (uuid, url, events)"
        " SELECT gen_random_uuid(), 'https://example.com', '{*}' FROM generate_series(1, %s)",
        [MAX_ENDPOINTS - 2],
    )
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: call("POST", json={"url": URL, "events": ["*"]}), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [409] * 6
    assert_problem(call("POST", json={"url": URL, "events": ["*"]}), 409, "too_many_webhooks")
    assert sql.value("SELECT count(*) FROM webhook_endpoints") == MAX_ENDPOINTS


@pytest.mark.parametrize(
    "url",
    [
        "http://0177.0.0.1/",  # what delivers could not make a request of these
        "http://①②⑦.0.0.1/",
        "",
        "example.com",
        "//example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "gopher://example.com",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://:443",
        "https://example.com:0",
        "https://example.com:65536",
        "https://example.com:x",
        "https://user@example.com",
        "https://user:password@example.com",
        "https://@example.com",
        "https://example.com/#fragment",
        "https://example.com#",
        "https://example.com/a b",
        "https://example.com/a\tb",
        "https://example.com/a\r\nHost: other",
        "https://example.com\\@other",
        "https://[::1",
        "https://example.com/" + "a" * 2048,
        "https://example.com/\x00",
        None,
        1,
    ],
)
def test_invalid_urls_are_rejected(call: Call, url: object) -> None:
    problem = assert_problem(call("POST", json={"url": url, "events": ["*"]}), 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == ["body.url"]


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "https://example.com:8443/a?b=c%20d&e=@", "http://[2001:db8::1]:80/", "https://ü.example"],
)
def test_valid_urls_are_stored_unchanged(call: Call, url: str) -> None:
    assert create(call, url=url)["url"] == url


@pytest.mark.parametrize(
    "events", [[], ["webhook.test"], ["turn.started"], ["*", "*"], ["user.erased"] * 2, "*", None, ["*"] * 21]
)
def test_invalid_event_lists_are_rejected(call: Call, events: object) -> None:
    assert_problem(call("POST", json={"url": URL, "events": events}), 422, "validation_error")


def test_an_empty_change_is_rejected(call: Call) -> None:
    path = f"/{create(call)['id']}"
    assert_problem(call("PATCH", path, json={}), 422, "validation_error")
    for field in ("url", "events", "is_enabled", "uses_shared_secret"):
        assert_problem(call("PATCH", path, json={field: None}), 422, "validation_error")


def test_a_test_event_ignores_the_subscriptions(call: Call, sql: Sql) -> None:
    created, other = create(call, events=["user.erased"]), create(call)
    response = call("POST", f"/{created['id']}/test")
    assert response.status_code == 202
    assert (response.json()["type"], response.json()["status"]) == ("webhook.test", "pending")
    (stored,) = sql.rows("SELECT event_id, data FROM webhook_deliveries")
    assert (str(stored["event_id"]), stored["data"]) == (response.json()["id"], {"webhook_id": created["id"]})
    assert audit_entries(sql)[-1] == ("webhook.tested", {"event": response.json()["id"]})
    assert call("GET", f"/{other['id']}/deliveries").json() == {"deliveries": [], "next": None}


def test_deliveries_are_listed_newest_first_in_pages_and_by_status(call: Call, sql: Sql) -> None:
    created, other = create(call), create(call)
    ids = add_deliveries(sql, created["id"], "delivered", "failed", "pending", "failed", "delivered")
    add_deliveries(sql, other["id"], "failed")

    def listed(**query: object) -> list[str]:
        found: list[str] = []
        while True:
            page = call("GET", f"/{created['id']}/deliveries", params=query).json()
            found += [one["id"] for one in page["deliveries"]]
            if page["next"] is None:
                return found
            query["after"] = page["next"]

    assert listed() == ids[::-1]
    assert listed(limit=2) == ids[::-1]
    assert listed(limit=5) == ids[::-1]
    assert listed(status="failed", limit=1) == [ids[3], ids[1]]
    assert listed(status="pending") == [ids[2]]
    assert listed(after=str(uuid4())) == []


def test_a_delivery_is_returned_with_its_payload_and_log(call: Call, sql: Sql) -> None:
    created, other = create(call), create(call)
    (event,) = add_deliveries(sql, created["id"], "failed")
    stored = call("GET", f"/{created['id']}/deliveries/{event}").json()
    assert (stored["id"], stored["data"], stored["log"]) == (event, {"user_id": "x"}, [{"error": "timeout"}])
    assert_problem(call("GET", f"/{other['id']}/deliveries/{event}"), 404, "not_found")


def test_a_finished_delivery_can_be_repeated_with_the_same_event_id(call: Call, sql: Sql) -> None:
    created, other = create(call), create(call)
    (event,) = add_deliveries(sql, created["id"], "failed")
    path = f"/{created['id']}/deliveries/{event}/redeliver"
    assert_problem(call("POST", f"/{other['id']}/deliveries/{event}/redeliver"), 404, "not_found")
    response = call("POST", path)
    assert (response.status_code, response.json()["id"], response.json()["status"]) == (202, event, "pending")
    assert sql.rows("SELECT attempts, earlier_attempts, next_attempt_at <= now() AS due FROM webhook_deliveries") == [
        {"attempts": 1, "earlier_attempts": 1, "due": True}
    ]
    assert_problem(call("POST", path), 409, "delivery_pending")
    assert audit_entries(sql)[-1] == ("webhook.redelivered", {"event": event, "type": "user.erased"})


def test_deleting_an_endpoint_deletes_its_deliveries(call: Call, sql: Sql) -> None:
    created = create(call)
    (event,) = add_deliveries(sql, created["id"], "failed")
    call("DELETE", f"/{created['id']}")
    assert_problem(call("POST", f"/{created['id']}/deliveries/{event}/redeliver"), 404, "not_found")
    assert_problem(call("GET", f"/{created['id']}/deliveries"), 404, "not_found")
