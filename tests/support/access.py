"""Access table: an entry for every operation of the three services.

`test_access.py`, `test_injected_fields.py` and `test_malformed_operations.py` are generated from this table and the
OpenAPI documents. An operation without an entry fails them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from tests.fixtures.services import AUTH, PASSWORD, User
from tests.fixtures.world import World
from tests.support.operations import OPERATIONS, Operation

Ids = dict[str, str]
Body = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """Required rights and a valid request of one operation."""

    who: Literal["anybody", "user", "admin"]
    """Who may call it. `user` with an id in the path means the owner of the resource."""
    scope: Literal["chat:read", "chat:write"] | None = None
    """Scope that an API key needs. None: API keys are refused."""
    ids: Callable[[World, User], Ids] = lambda _world, _user: {}
    """Creates the resources of the user that the path names, and returns their ids."""
    body: Callable[[World, User], Body | None] = lambda _world, _user: None
    """Returns a valid body."""
    status: int = 200
    """Status of the response to a valid request."""
    declares: frozenset[str] = frozenset()
    """Fields of the body that would be privilege escalation in other operations."""


def sends(**fields: Any) -> Callable[[World, User], Body]:  # noqa: ANN401 - any JSON value
    """Return a constant body."""
    return lambda _world, _user: fields


def a_login(world: World, user: User) -> Ids:
    (login,) = world.services["auth"].get(f"{AUTH}/sessions", headers=user.headers).json()["sessions"]
    return {"session_id": login["id"]}


def an_api_key(world: World, user: User) -> Ids:
    key = {"name": "report", "scopes": ["chat:read"]}
    return {"key_id": world.services["auth"].post(f"{AUTH}/api-keys", json=key, headers=user.headers).json()["id"]}


def a_session(world: World, user: User) -> Ids:
    return {"session_id": world.chat(user).open()}


def an_answer(world: World, user: User) -> Ids:
    ids = a_session(world, user)
    return ids | {"message_id": world.chat(user).ask(ids["session_id"], "Hi")["ai_response"]["id"]}


def an_account(world: World, user: User) -> Ids:
    return {"user_id": user.id}


def a_webhook(world: World, _user: User) -> Ids:
    return {"webhook_id": str(world.webhook())}


def a_delivery(world: World, user: User) -> Ids:
    ids = a_webhook(world, user)
    return ids | {"delivery_id": str(world.delivery(ids["webhook_id"]))}


def a_mailed_token(purpose: str, **fields: object) -> Callable[[World, User], Body]:
    """Return a body with the token of an email to the user."""
    return lambda world, user: {"token": world.mailed_token(user, purpose), **fields}


ENTRIES = {
    "auth.register": Entry(
        "anybody", body=sends(email="new@example.com", username="new", password=PASSWORD), status=201
    ),
    "auth.login": Entry("anybody", body=lambda _world, user: {"username": user.username, "password": PASSWORD}),
    "auth.refresh": Entry("anybody", body=lambda _world, user: {"refresh_token": user.refresh_token}),
    # 503: email is disabled in these tests.
    "auth.forgot_password": Entry("anybody", body=sends(email="ada@example.com"), status=503),
    "auth.resend_verification": Entry("anybody", body=sends(email="ada@example.com"), status=503),
    "auth.reset_password": Entry("anybody", body=a_mailed_token("reset_password", new_password=f"another {PASSWORD}")),
    "auth.verify_email": Entry("anybody", body=a_mailed_token("verify_email")),
    "auth.logout": Entry("user"),
    "auth.logout_all": Entry("user"),
    "auth.list_logins": Entry("user"),
    "auth.remove_login": Entry("user", ids=a_login),
    "auth.change_password": Entry("user", body=sends(current_password=PASSWORD, new_password=f"another {PASSWORD}")),
    "auth.me": Entry("user"),
    "auth.update_profile": Entry("user", body=sends(full_name="Ada King", preferences={"theme": "dark"})),
    "auth.list_api_keys": Entry("user"),
    "auth.create_api_key": Entry(
        "user", body=sends(name="report", scopes=["chat:read"], expires_in_days=30), status=201
    ),
    "auth.delete_api_key": Entry("user", ids=an_api_key),
    "auth.export_account": Entry("user"),
    "auth.erase_account": Entry("user", body=sends(password=PASSWORD)),
    "auth.list_users": Entry("admin"),
    "auth.get_user": Entry("admin", ids=an_account),
    "auth.update_user": Entry(
        "admin",
        ids=an_account,
        body=sends(full_name="Ada Lovelace"),
        declares=frozenset({"role", "is_active", "is_verified"}),
    ),
    "chat.direct_chat": Entry("user", "chat:write", body=sends(message="Hi")),
    "chat.create_session": Entry("user", "chat:write", body=sends(title="Plans"), status=201),
    "chat.list_models": Entry("user", "chat:read"),
    "chat.list_sessions": Entry("user", "chat:read"),
    "chat.get_session": Entry("user", "chat:read", ids=a_session),
    "chat.delete_session": Entry("user", "chat:write", ids=a_session),
    "chat.send_message": Entry("user", "chat:write", ids=a_session, body=sends(message="Hi")),
    "chat.stream_message": Entry("user", "chat:write", ids=a_session, body=sends(message="Hi")),
    "chat.stream_direct_chat": Entry("user", "chat:write", body=sends(message="Hi")),
    "chat.follow_message": Entry("user", "chat:read", ids=an_answer),
    "chat.cancel_message": Entry("user", "chat:write", ids=an_answer),
    "chat.search_conversations": Entry("user", "chat:read"),
    "chat.get_usage": Entry("user", "chat:read"),
    "chat.get_quota": Entry("user", "chat:read"),
    "admin.get_overview": Entry("admin"),
    "admin.get_system": Entry("admin"),
    "admin.search_audit_log": Entry("admin"),
    "admin.export_audit_log": Entry("admin"),
    "admin.get_usage_report": Entry("admin"),
    "admin.get_latency_report": Entry("admin"),
    "admin.get_error_report": Entry("admin"),
    "admin.get_model_report": Entry("admin"),
    "admin.get_user_report": Entry("admin"),
    "admin.get_retention_report": Entry("admin"),
    "admin.get_overview_file": Entry("admin"),
    "admin.get_usage_file": Entry("admin"),
    "admin.get_latency_file": Entry("admin"),
    "admin.get_errors_file": Entry("admin"),
    "admin.get_models_file": Entry("admin"),
    "admin.get_users_file": Entry("admin"),
    "admin.get_retention_file": Entry("admin"),
    "admin.get_user_usage": Entry("admin", ids=an_account),
    "admin.list_sessions": Entry("admin"),
    "admin.get_session": Entry("admin", ids=a_session),
    "admin.read_session": Entry("admin", ids=a_session, body=sends(reason="Ticket 4711", limit=10)),
    "admin.delete_session": Entry("admin", ids=a_session),
    "admin.cancel_message": Entry("admin", ids=an_answer),
    "admin.get_user_quota": Entry("admin", ids=an_account),
    "admin.change_user_quota": Entry("admin", ids=an_account, body=sends(tokens_per_day=1000)),
    "admin.create_webhook": Entry("admin", body=sends(url="https://example.com/hook", events=["*"]), status=201),
    "admin.list_webhooks": Entry("admin"),
    "admin.get_webhook": Entry("admin", ids=a_webhook),
    "admin.change_webhook": Entry("admin", ids=a_webhook, body=sends(description="billing")),
    "admin.delete_webhook": Entry("admin", ids=a_webhook, status=204),
    "admin.rotate_webhook_secret": Entry("admin", ids=a_webhook, body=sends(grace_hours=1)),
    "admin.test_webhook": Entry("admin", ids=a_webhook, status=202),
    "admin.list_webhook_deliveries": Entry("admin", ids=a_webhook),
    "admin.get_webhook_delivery": Entry("admin", ids=a_delivery),
    "admin.redeliver_webhook": Entry("admin", ids=a_delivery, status=202),
}


def generated(select: Callable[[Operation, Entry], bool] = lambda _operation, _entry: True) -> list[Any]:
    """Return one test case for each selected operation. A separate test fails for operations without an entry."""
    return [
        pytest.param(operation, id=key)
        for key, operation in OPERATIONS.items()
        if key in ENTRIES and select(operation, ENTRIES[key])
    ]
