"""Reading and changing the quotas of an account."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, Chat, User, assert_problem
from tests.support.provider import Provider, answers


def test_a_changed_quota_takes_effect_at_once(
    admin_client: TestClient, admin: User, chat: Chat, others_chat: Chat, provider: Provider
) -> None:
    provider.always(answers("Yes.", usage=(90, 10)))
    path = f"{ADMIN}/users/{chat.user.id}/quota"
    assert chat.request("POST", "/direct", json={"message": "Hi"}).status_code == 200
    changed = admin_client.put(path, json={"tokens_per_day": 100, "cost_per_month": "2.5"}, headers=admin.headers)
    assert changed.status_code == 200, changed.text
    assert (
        changed.json() == admin_client.get(path, headers=admin.headers).json() == chat.request("GET", "/quota").json()
    )
    assert changed.json()["tokens_per_day"] | {"resets_at": ""} == {
        "limit": 100,
        "used": 100,
        "reserved": 0,
        "remaining": 0,
        "resets_at": "",
    }
    assert float(changed.json()["cost_per_month"]["limit"]) == 2.5
    assert_problem(chat.request("POST", "/direct", json={"message": "Hi"}), 429, "quota_exceeded")
    assert others_chat.request("POST", "/direct", json={"message": "Hi"}).status_code == 200
    # Omitted fields are not changed; null means the default.
    changed = admin_client.put(path, json={"tokens_per_day": None}, headers=admin.headers)
    assert changed.json()["tokens_per_day"]["limit"] is None
    assert float(changed.json()["cost_per_month"]["limit"]) == 2.5
    assert chat.request("POST", "/direct", json={"message": "Hi"}).status_code == 200


def test_only_effective_changes_are_recorded_in_the_audit_log(
    admin_client: TestClient, admin: User, ada: User, sql: Sql
) -> None:
    path = f"{ADMIN}/users/{ada.id}/quota"
    for _ in range(2):
        assert admin_client.put(path, json={"tokens_per_day": 100}, headers=admin.headers).status_code == 200
    (entry,) = sql.rows("SELECT * FROM audit_log WHERE action = 'user.quota_changed'")
    assert (str(entry["actor_id"]), str(entry["target_id"]), entry["outcome"]) == (admin.id, ada.id, "done")
    nothing = dict.fromkeys(("tokens_per_day", "tokens_per_month", "cost_per_day", "cost_per_month"))
    assert entry["details"] == {"before": nothing, "after": nothing | {"tokens_per_day": "100"}}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tokens_per_day": -1},
        {"tokens_per_day": 10**18},
        {"tokens_per_day": 1.5},
        {"cost_per_day": -0.01},
        {"cost_per_day": "1e400"},
        {"cost_per_day": "0.0000000001"},
        {"requests_per_day": 1},
    ],
)
def test_an_invalid_quota_is_rejected(
    admin_client: TestClient, admin: User, ada: User, sql: Sql, body: dict[str, Any]
) -> None:
    assert_problem(admin_client.put(f"{ADMIN}/users/{ada.id}/quota", json=body, headers=admin.headers), 422)
    assert (
        sql.value("SELECT num_nonnulls(quota_tokens_per_day, quota_cost_per_day) FROM users WHERE uuid = %s", [ada.id])
        == 0
    )
