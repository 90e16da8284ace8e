"""Refused admin calls cannot flood the audit log."""

from concurrent.futures import ThreadPoolExecutor

from fastapi.testclient import TestClient

from app.database.repositories.audit import refusals
from tests.auth.users.user_requests import USERS
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, User, assert_problem

COUNTS = "SELECT (details->>'count')::int AS count FROM audit_log WHERE action = 'admin.access' ORDER BY id"


def call(client: TestClient, user: User) -> None:
    assert_problem(client.get(f"{ADMIN}/overview", headers=user.headers), 403, "admin_required")


def counts(sql: Sql) -> list[int]:
    return [row["count"] for row in sql.rows(COUNTS)]


def test_entries_of_an_account_are_bounded(admin_client: TestClient, ada: User, sql: Sql) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: call(admin_client, ada), range(110)))
    assert sorted(counts(sql)) == [*range(1, 11), 100]


def test_entries_of_an_admin_are_bounded(auth_client: TestClient, admin: User, sql: Sql) -> None:
    url = f"{USERS}/{admin.id}"
    for _ in range(12):
        demotion = auth_client.put(url, headers=admin.headers, json={"role": "user"})
        assert_problem(demotion, 409, "last_admin")
        assert_problem(auth_client.delete(url, headers=admin.headers), 409, "own_account")
    rows = sql.rows("SELECT action, count(*) FROM audit_log WHERE outcome = 'refused' GROUP BY action ORDER BY action")
    assert [tuple(row.values()) for row in rows] == [("account.erased", 10), ("user.updated", 10)]


def test_other_accounts_are_recorded(admin_client: TestClient, ada: User, bob: User, sql: Sql) -> None:
    sql.do("INSERT INTO login_throttles VALUES (%s, 500, now() + interval '1 h')", [f"refused:admin.access:{ada.id}"])
    for user in (ada, bob):
        call(admin_client, user)
    assert sql.rows("SELECT actor_id::text FROM audit_log WHERE action = 'admin.access'") == [{"actor_id": bob.id}]


def test_period_ends(admin_client: TestClient, ada: User, sql: Sql) -> None:
    call(admin_client, ada)
    left = sql.value(
        "SELECT extract(epoch FROM window_ends_at - now()) FROM login_throttles WHERE key LIKE 'refused:%%'"
    )
    assert refusals.WINDOW.total_seconds() - 60 < left <= 3600
    sql.do("UPDATE login_throttles SET attempts = 5000, window_ends_at = now()")
    call(admin_client, ada)
    assert counts(sql) == [1, 1]
