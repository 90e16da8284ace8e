"""Overview of the admin service."""

from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, Chat, User, assert_problem
from tests.support.provider import Provider, answers, fails


def test_rates_are_zero_without_turns(admin_client: TestClient, admin: User) -> None:
    overview = admin_client.get(f"{ADMIN}/overview", headers=admin.headers).json()
    assert overview["users"] == {"total": 1, "enabled": 1, "active": 0}
    assert (overview["sessions"], overview["messages"]) == (0, 0)
    assert overview["turns"] == {
        "total": 0,
        "failed": 0,
        "by_fallback_model": 0,
        "error_rate": 0,
        "fallback_rate": 0,
    }
    assert overview["model_calls"] == {"total": 0, "failed": 0, "cached": 0, "unpriced": 0}
    assert overview["cost_usd"] == "0.000000000"
    assert overview["tokens"] == {"prompt": 0, "completion": 0, "total": 0}
    generated_at = datetime.fromisoformat(overview["generated_at"])
    assert abs((generated_at - datetime.now(UTC)).total_seconds()) < 60


def test_all_figures_are_counted(
    admin_client: TestClient, admin: User, chat: Chat, bob: User, sql: Sql, provider: Provider
) -> None:
    session, deleted_session = chat.open(), chat.open()
    provider.always(answers("Hello.", usage=(10, 2)))
    chat.ask(session, "answered")
    chat.ask(deleted_session, "answered and deleted")
    chat.request("DELETE", f"/sessions/{deleted_session}")
    chat.request("POST", "/direct", json={"message": "answered directly"})
    provider.always(fails(400), model="gpt-primary")
    chat.ask(session, "answered by the fallback model")
    provider.always(fails(400), model="gpt-fallback")
    chat.ask(session, "not answered")
    sql.do("UPDATE users SET is_active = false WHERE username = 'bob'")

    overview = admin_client.get(f"{ADMIN}/overview", headers=admin.headers).json()
    now = datetime.fromisoformat(overview.pop("generated_at"))
    period, previous = overview.pop("period"), overview.pop("previous")
    assert overview == {
        "users": {"total": 3, "enabled": 2, "active": 1},
        "sessions": 1,
        "messages": 6,
        "turns": {"total": 5, "failed": 1, "by_fallback_model": 1, "error_rate": 0.2, "fallback_rate": 0.2},
        "model_calls": {"total": 7, "failed": 3, "cached": 0, "unpriced": 4},
        "tokens": {"prompt": 40, "completion": 8, "total": 48},
        "cost_usd": "0.000000000",
    }
    start, end = datetime.fromisoformat(period.pop("from")), datetime.fromisoformat(period.pop("to"))
    assert end - timedelta(minutes=15) <= now < end
    assert start == end - timedelta(days=30) == datetime.fromisoformat(previous.pop("to"))
    assert start == datetime.fromisoformat(previous.pop("from")) + timedelta(days=30)
    assert period == {
        "timezone": "UTC",
        "users_registered": 3,
        "users_active": 1,
        "sessions": 1,
        "messages": 6,
        "turns": 5,
        "turns_failed": 1,
        "turns_cancelled": 0,
        "turns_by_fallback": 1,
        "turns_cached": 0,
        "calls": 7,
        "calls_failed": 3,
        "calls_estimated": 0,
        "calls_unpriced": 4,
        "prompt_tokens": 40,
        "completion_tokens": 8,
        "total_tokens": 48,
        "cost_usd": "0.000000000",
        "error_rate": 0.2,
        "fallback_rate": 0.2,
        "cache_hit_rate": 0,
    }
    nothing = dict.fromkeys(period, 0) | {"timezone": "UTC", "cost_usd": "0.000000000"}
    assert previous == nothing


def test_the_overview_requires_an_admin(admin_client: TestClient, ada: User) -> None:
    assert_problem(admin_client.get(f"{ADMIN}/overview", headers=ada.headers), 403, "admin_required")
    assert_problem(admin_client.get(f"{ADMIN}/overview"), 401, "unauthorized")


@pytest.mark.parametrize("role", ["user", "admin"])
def test_a_role_change_takes_effect_at_once(admin_client: TestClient, ada: User, sql: Sql, role: str) -> None:
    sql.do("UPDATE users SET role = %s", [role])
    response = admin_client.get(f"{ADMIN}/overview", headers=ada.headers)
    assert response.status_code == {"user": 403, "admin": 200}[role]
