"""Access control: each operation serves exactly the callers that `access.py` lists."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import Response

from tests.fixtures.services import assert_problem
from tests.fixtures.world import World
from tests.support.access import ENTRIES, generated
from tests.support.operations import OPERATIONS, Operation

WITHOUT_LOGIN = {
    "auth.forgot_password",
    "auth.get_config",
    "auth.login",
    "auth.refresh",
    "auth.register",
    "auth.resend_verification",
    "auth.reset_password",
    "auth.verify_email",
    "chat.read_share",
}


def refusal(response: Response, status: int, code: str) -> dict[str, Any]:
    """Check a refusal and return the parts that must be equal for all refusals."""
    problem = assert_problem(response, status, code)
    del problem["request_id"]
    return problem


def test_table_lists_every_operation() -> None:
    assert set(ENTRIES) == set(OPERATIONS), "see tests/support/access.py"


def test_operations_without_login_are_known() -> None:
    assert {key for key, entry in ENTRIES.items() if entry.who == "anybody"} == WITHOUT_LOGIN


def test_only_health_checks_and_metrics_are_undocumented() -> None:
    app = Path(__file__).parents[2] / "app"
    undocumented = {path.name for path in app.rglob("*.py") if "include_in_schema" in path.read_text()}
    assert undocumented == {"health.py", "metrics.py"}


@pytest.mark.parametrize("operation", generated())
def test_operations_require_login_unless_public(world: World, operation: Operation) -> None:
    entry = ENTRIES[operation.key]
    response = world.call(operation, None, entry.ids(world, world.owner), entry.body(world, world.owner))
    if operation.key in WITHOUT_LOGIN:
        assert response.status_code == entry.status, response.text
    else:
        assert_problem(response, 401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("operation", generated(lambda _, entry: entry.who == "user" and not entry.is_for_link))
def test_resources_are_accessible_to_their_owner_only(world: World, operation: Operation) -> None:
    entry = ENTRIES[operation.key]
    ids, body = entry.ids(world, world.owner), entry.body(world, world.owner)
    assert set(ids) == set(operation.ids)
    if operation.ids:
        missing = refusal(world.call(operation, world.owner.access_token, random_ids(ids), body), 404, "not_found")
        for other_user in (world.other, world.admin):
            own_ids = entry.ids(world, other_user)
            # One foreign id is enough for a refusal.
            for mixed_ids in [ids, *(own_ids | {name: ids[name]} for name in ids)]:
                response = world.call(operation, other_user.access_token, mixed_ids, body)
                assert refusal(response, 404, "not_found") == missing
    # The refused requests have changed nothing.
    response = world.call(operation, world.owner.access_token, ids, body)
    assert response.status_code == entry.status, response.text


@pytest.mark.parametrize("operation", generated(lambda _, entry: entry.is_for_link))
def test_link_serves_everybody_who_has_it_and_no_other_token(world: World, operation: Operation) -> None:
    entry = ENTRIES[operation.key]
    ids = entry.ids(world, world.owner)
    tokens = [user.access_token for user in (world.owner, world.other, world.admin)]
    for token in [*tokens, *([None] if entry.who == "anybody" else [])]:
        refusal(world.call(operation, token, random_ids(ids), None), 404, "not_found")
        assert world.call(operation, token, ids, None).status_code == entry.status


@pytest.mark.parametrize("operation", generated(lambda _, entry: entry.who == "admin"))
def test_admin_operations_require_admin(world: World, operation: Operation) -> None:
    entry = ENTRIES[operation.key]
    ids, body = entry.ids(world, world.owner), entry.body(world, world.owner)
    assert set(ids) == set(operation.ids)
    for requested_ids in (ids, random_ids(ids)):
        refusal(world.call(operation, world.owner.access_token, requested_ids, body), 403, "admin_required")
    if operation.ids:
        refusal(world.call(operation, world.admin.access_token, random_ids(ids), body), 404, "not_found")
    response = world.call(operation, world.admin.access_token, ids, body)
    assert response.status_code == entry.status, response.text


@pytest.mark.parametrize("operation", generated(lambda _, entry: entry.who != "anybody"))
def test_api_key_is_limited_to_its_scopes(world: World, operation: Operation) -> None:
    entry = ENTRIES[operation.key]
    ids, body = entry.ids(world, world.owner), entry.body(world, world.owner)
    if entry.scope is None:
        key = world.api_key(world.admin if entry.who == "admin" else world.owner, "chat:read", "chat:write")
        refusal(world.call(operation, key, ids, body), 401, "unauthorized")
        return
    (other_scope,) = {"chat:read", "chat:write"} - {entry.scope}
    refusal(world.call(operation, world.api_key(world.owner, other_scope), ids, body), 403, "scope_required")
    response = world.call(operation, world.api_key(world.owner, entry.scope), ids, body)
    assert response.status_code == entry.status, response.text


def random_ids(ids: Mapping[str, str]) -> dict[str, str]:
    """Return random ids under the same names."""
    return {name: str(uuid4()) for name in ids}
