"""Requests of admins about accounts, and their audit entries."""

from typing import Any

from fastapi.testclient import TestClient
from httpx2 import Response

from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, User

USERS = f"{AUTH}/admin/users"


def list_usernames(client: TestClient, admin: User, **query: Any) -> list[str]:  # noqa: ANN401 - what a query can hold
    response = client.get(USERS, params=query, headers=admin.headers)
    assert response.status_code == 200, response.text
    return [user["username"] for user in response.json()["users"]]


def update_user(client: TestClient, admin: User, user_id: str, **fields: object) -> Response:
    return client.put(f"{USERS}/{user_id}", json=fields, headers=admin.headers)


def entries(sql: Sql) -> list[dict[str, Any]]:
    return sql.rows("SELECT actor_id, action, outcome, target_id, details FROM audit_log WHERE action = 'user.updated'")


def make_admin(sql: Sql, user: User) -> None:
    sql.do("UPDATE users SET role = 'admin' WHERE username = %s", [user.username])
