"""The examples in the OpenAPI documents are requests that a stack without settings of its own accepts.

The interactive pages fill in their forms with them.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app import admin_main, auth_main, main
from app.config import Settings
from local.model import MODEL_SETTINGS
from tests.fixtures.world import World
from tests.support.access import ENTRIES, generated
from tests.support.operations import Operation

PREPARATIONS = {
    "chat.activate_branch": (
        "UPDATE chat_messages SET uuid = '0199c2f0-7c5e-7a3b-9b1e-3f5a6c7d8e90' WHERE role = 'assistant'"
    ),
}
"""Makes what the example of an operation creates missing, and what it names exist."""


@pytest.fixture(scope="module")
def services(
    settings: Settings, cheap_passwords: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, TestClient]]:
    """The services with the settings that `make run` gives them."""
    changes = {**MODEL_SETTINGS, "MAIL_URL": tmp_path_factory.mktemp("mail").as_uri()}
    default_settings = Settings.model_validate({**settings.model_dump(exclude_unset=True), **changes})
    create = {"auth": auth_main.create, "chat": main.create, "admin": admin_main.create}
    with ExitStack() as stack:
        yield {name: stack.enter_context(TestClient(create[name](default_settings))) for name in create}


@pytest.fixture
def default_world(world: World, services: dict[str, TestClient]) -> World:
    return replace(world, services=services)


def send(
    world: World, operation: Operation, body: dict[str, Any] | None, query: dict[str, Any] | None = None
) -> Response:
    """Send a request as a user who may call the operation, with valid tokens in place of those of the example."""
    entry = ENTRIES[operation.key]
    caller = world.admin if entry.who == "admin" else world.owner
    ids = entry.ids(world, world.owner)
    if body is not None:
        valid_body = entry.body(world, world.owner) or {}
        body = {name: valid_body[name] if str(value).endswith("...") else value for name, value in body.items()}
    if preparation := PREPARATIONS.get(operation.key):
        world.sql.do(preparation)
    content: dict[str, Any] = {"data" if operation.takes_form else "json": body}
    return world.services[operation.service].request(
        operation.method,
        operation.path.format_map(ids),
        params=operation.required_query | (query or {}),
        headers={} if entry.who == "anybody" else caller.headers,
        **content,
    )


def assert_accepted(response: Response, operation: Operation) -> None:
    status = ENTRIES[operation.key].status
    if status == 503:  # the table of entries is of services that send no mail
        (status,) = (one for one in operation.statuses if one < 300)
    assert response.status_code == status, response.text


def sample(operation: Operation) -> dict[str, Any]:
    """Make the body that a documentation page shows: the example of the whole, or of each field."""
    if operation.body_examples:
        return dict(operation.body_examples[0])
    return {field.name: [*field.examples, field.default][0] for field in operation.fields}


@pytest.mark.parametrize("operation", generated(lambda operation, _: bool(operation.fields)))
def test_the_example_of_a_body_is_accepted(default_world: World, operation: Operation) -> None:
    body = sample(operation)
    assert [name for name, value in body.items() if value is None] == [], "documentation pages would invent a value"
    assert_accepted(send(default_world, operation, body), operation)


NAMES_WHAT_DOES_NOT_EXIST = {"before", "message_id", "model", "parent_id"}
"""Fields whose examples name messages, or a model that the settings may not have."""
FIELD_EXAMPLES = [
    pytest.param(operation, {field.name: example}, id=f"{operation.key}-{field.name}-{number}")
    for (operation,) in (case.values for case in generated(lambda operation, _: bool(operation.fields)))
    for field in operation.fields
    for number, example in enumerate(field.examples)
    if sample(operation).get(field.name) != example and field.name not in NAMES_WHAT_DOES_NOT_EXIST
]


@pytest.mark.parametrize(("operation", "example"), FIELD_EXAMPLES)
def test_each_other_example_of_a_field_is_accepted(
    default_world: World, operation: Operation, example: dict[str, Any]
) -> None:
    assert_accepted(send(default_world, operation, sample(operation) | example), operation)


@pytest.mark.parametrize(
    "operation",
    generated(lambda operation, _: operation.body is None and any(field.examples for field in operation.query)),
)
def test_the_examples_of_parameters_are_accepted(default_world: World, operation: Operation) -> None:
    examples = [{field.name: example} for field in operation.query for example in field.examples]
    all_parameters = {name: value for example in reversed(examples) for name, value in example.items()}
    for query in (all_parameters, *examples):
        assert_accepted(send(default_world, operation, None, query), operation)
