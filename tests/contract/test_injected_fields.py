"""Mass assignment: fields that a caller may not set are refused."""

from typing import Any
from uuid import UUID

import pytest

from app.database import models
from tests.fixtures.database import Sql
from tests.fixtures.services import assert_problem
from tests.fixtures.world import World
from tests.support.access import ENTRIES, generated
from tests.support.operations import OPERATIONS, Operation

# Values that would give an advantage if they were accepted.
INJECTED: dict[str, object] = {
    "role": "admin",
    "is_admin": True,
    "is_active": True,
    "is_verified": True,
    "id": 1,
    "uuid": str(UUID(int=1)),
    "user_id": 1,
    "created_at": "2020-01-01T00:00:00Z",
    "password_hash": "$argon2id$",
}
# Written by heartbeats every few seconds.
TABLES = [table for table in models.User.metadata.sorted_tables if table.name != "service_instances"]


def contents(sql: Sql) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables."""
    return {table.name: sql.rows(f'SELECT * FROM "{table.name}" ORDER BY 1') for table in TABLES}  # noqa: S608 - ours


@pytest.mark.parametrize("operation", generated(lambda operation, _: operation.body is not None))
def test_protected_field_is_refused_by_name_and_changes_nothing(world: World, operation: Operation) -> None:
    entry = ENTRIES[operation.key]
    caller = world.admin if entry.who == "admin" else world.owner
    token = None if entry.who == "anybody" else caller.access_token
    ids, body = entry.ids(world, world.owner), entry.body(world, world.owner)
    assert body is not None
    before = contents(world.sql)
    for name, value in INJECTED.items():
        if name not in entry.declares:
            problem = assert_problem(world.call(operation, token, ids, body | {name: value}), 422, "validation_error")
            assert [error["field"] for error in problem["errors"]] == [f"body.{name}"]
    assert contents(world.sql) == before
    # Without the field the request is valid.
    assert world.call(operation, token, ids, body).status_code == entry.status


def test_privileged_fields_are_declared_only_where_listed() -> None:
    declared = {key: {field.name for field in one.body or ()} & set(INJECTED) for key, one in OPERATIONS.items()}
    assert declared == {key: set(ENTRIES[key].declares) for key in OPERATIONS}


def test_login_form_ignores_fields_outside_oauth(world: World) -> None:
    operation = OPERATIONS["auth.login"]
    body = {"username": world.owner.username, "password": "wrong password"} | INJECTED
    assert_problem(world.call(operation, None, {}, body), 401, "invalid_credentials")
    assert world.sql.value("SELECT role FROM users WHERE username = %s", [world.owner.username]) == "user"
