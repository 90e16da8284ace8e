"""Access table: an entry for every operation of the three services.

`test_access.py`, `test_injected_fields.py` and `test_malformed_operations.py` are generated from this table and the
OpenAPI documents. An operation without an entry fails them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from tests.fixtures.services import AUTH, PASSWORD, User
from tests.fixtures.world import INVITATION_TOKENS, World
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
    is_for_link: bool = False
    """Whether the id in the path is the token of a link: everybody who has it may call the operation."""
    declares: frozenset[str] = frozenset()
    """Fields of the body that would be privilege escalation in other operations."""


def constant_body(**fields: Any) -> Callable[[World, User], Body]:  # noqa: ANN401 - any JSON value
    """Return a constant body."""
    return lambda _world, _user: fields


def login_ids(world: World, user: User) -> Ids:
    (login,) = world.services["auth"].get(f"{AUTH}/sessions", headers=user.headers).json()["sessions"]
    return {"session_id": login["id"]}


def api_key_ids(world: World, user: User) -> Ids:
    key = {"name": "report", "scopes": ["chat:read"]}
    return {"key_id": world.services["auth"].post(f"{AUTH}/api-keys", json=key, headers=user.headers).json()["id"]}


def session_ids(world: World, user: User) -> Ids:
    return {"session_id": world.chat(user).open()}


def listed_session_ids(world: World, user: User) -> Body:
    return {"session_ids": [world.chat(user).open()]}


def answer_ids(world: World, user: User) -> Ids:
    ids = session_ids(world, user)
    return ids | {"message_id": world.chat(user).ask(ids["session_id"], "Hi")["ai_response"]["id"]}


def answered_session_ids(world: World, user: User) -> Ids:
    return {"session_id": answer_ids(world, user)["session_id"]}


def newest_answer(world: World, _user: User) -> Body:
    """Return a body that names the newest answer, or none if there is none."""
    newest = "(SELECT uuid FROM chat_messages ORDER BY id DESC LIMIT 1)"
    return {"message_id": world.sql.value(f"SELECT coalesce({newest}, gen_random_uuid())::text")}


def shared_session_ids(world: World, user: User) -> Ids:
    ids = {"session_id": answer_ids(world, user)["session_id"]}
    shared = world.chat(user).request("POST", f"/sessions/{ids['session_id']}/share", json={})
    assert shared.status_code == 201, shared.text
    return ids


def link_ids(world: World, user: User) -> Ids:
    (share, *_) = _shares(world, user)
    return {"token": share["token"]}


def share_ids(world: World, user: User) -> Ids:
    (share, *_) = _shares(world, user)
    return {"share_id": share["id"]}


def _shares(world: World, user: User) -> list[dict[str, str]]:
    shared_session_ids(world, user)
    return list(world.chat(user).request("GET", "/shares").json()["shares"])


def import_ids(world: World, user: User) -> Ids:
    file = {
        "format": "chat-bot-system/conversations",
        "version": 1,
        "exported_at": "2026-01-01T00:00:00Z",
        "sessions": [],
    }
    return {"import_id": world.chat(user).request("POST", "/import", json=file).json()["import_id"]}


def account_ids(world: World, user: User) -> Ids:
    return {"user_id": user.id}


def webhook_ids(world: World, _user: User) -> Ids:
    return {"webhook_id": str(world.webhook())}


def delivery_ids(world: World, user: User) -> Ids:
    ids = webhook_ids(world, user)
    return ids | {"delivery_id": str(world.delivery(ids["webhook_id"]))}


def invitation_ids(world: World, _user: User) -> Ids:
    return {"invitation_id": str(world.invitation("grace@example.com"))}


def invited_body(world: World, _user: User) -> Body:
    """Return a registration with an invitation."""
    email = "grace@example.com"
    return {
        "email": email,
        "username": "grace",
        "password": PASSWORD,
        "invitation": INVITATION_TOKENS.issue(world.invitation(email)),
    }


def mailed_token_body(purpose: str, **fields: object) -> Callable[[World, User], Body]:
    """Return a body with the token of an email to the user."""
    return lambda world, user: {"token": world.mailed_token(user, purpose), **fields}


ENTRIES = {
    "auth.get_config": Entry("anybody"),
    "auth.register": Entry("anybody", body=invited_body, status=201),
    "auth.login": Entry("anybody", body=lambda _world, user: {"username": user.username, "password": PASSWORD}),
    "auth.refresh": Entry("anybody", body=lambda _world, user: {"refresh_token": user.refresh_token}),
    # 503: email is disabled in these tests.
    "auth.forgot_password": Entry("anybody", body=constant_body(email="ada@example.com"), status=503),
    "auth.resend_verification": Entry("anybody", body=constant_body(email="ada@example.com"), status=503),
    "auth.reset_password": Entry(
        "anybody", body=mailed_token_body("reset_password", new_password=f"another {PASSWORD}")
    ),
    "auth.verify_email": Entry("anybody", body=mailed_token_body("verify_email")),
    "auth.logout": Entry("user"),
    "auth.logout_all": Entry("user"),
    "auth.list_logins": Entry("user"),
    "auth.remove_login": Entry("user", ids=login_ids),
    "auth.change_password": Entry(
        "user", body=constant_body(current_password=PASSWORD, new_password=f"another {PASSWORD}")
    ),
    "auth.me": Entry("user"),
    "auth.update_profile": Entry("user", body=constant_body(full_name="Ada King", preferences={"theme": "dark"})),
    "auth.list_api_keys": Entry("user"),
    "auth.create_api_key": Entry(
        "user", body=constant_body(name="report", scopes=["chat:read"], expires_in_days=30), status=201
    ),
    "auth.delete_api_key": Entry("user", ids=api_key_ids),
    "auth.export_account": Entry("user"),
    "auth.erase_account": Entry("user", body=constant_body(password=PASSWORD)),
    "auth.update_preferences": Entry("user", body=constant_body(theme="dark")),
    "auth.list_users": Entry("admin"),
    # 503: email is disabled in these tests.
    "auth.invite_user": Entry(
        "admin", body=constant_body(email="grace@example.com"), status=503, declares=frozenset({"role"})
    ),
    "auth.send_password_reset": Entry("admin", ids=account_ids, status=503),
    "auth.erase_user": Entry("admin", ids=account_ids),
    "auth.list_invitations": Entry("admin"),
    "auth.revoke_invitation": Entry("admin", ids=invitation_ids),
    "auth.get_user": Entry("admin", ids=account_ids),
    "auth.update_user": Entry(
        "admin",
        ids=account_ids,
        body=constant_body(full_name="Ada Lovelace"),
        declares=frozenset({"role", "is_active", "is_verified"}),
    ),
    "chat.direct_chat": Entry("user", "chat:write", body=constant_body(message="Hi")),
    "chat.create_session": Entry("user", "chat:write", body=constant_body(title="Plans"), status=201),
    "chat.list_models": Entry("user", "chat:read"),
    "chat.list_sessions": Entry("user", "chat:read"),
    "chat.update_session": Entry(
        "user", "chat:write", ids=session_ids, body=constant_body(title="Plans", is_pinned=True)
    ),
    "chat.delete_sessions": Entry("user", "chat:write", body=listed_session_ids),
    "chat.archive_sessions": Entry("user", "chat:write", body=listed_session_ids),
    "chat.list_active_answers": Entry("user", "chat:read"),
    "chat.get_session": Entry("user", "chat:read", ids=session_ids),
    "chat.delete_session": Entry("user", "chat:write", ids=session_ids),
    "chat.send_message": Entry("user", "chat:write", ids=session_ids, body=constant_body(message="Hi")),
    "chat.stream_message": Entry("user", "chat:write", ids=session_ids, body=constant_body(message="Hi")),
    "chat.stream_direct_chat": Entry("user", "chat:write", body=constant_body(message="Hi")),
    "chat.list_messages": Entry("user", "chat:read", ids=session_ids),
    "chat.activate_branch": Entry("user", "chat:write", ids=answered_session_ids, body=newest_answer),
    "chat.regenerate_answer": Entry("user", "chat:write", ids=answer_ids, body=constant_body(temperature=0.5)),
    "chat.stream_regenerated_answer": Entry("user", "chat:write", ids=answer_ids, body=constant_body(temperature=0.5)),
    "chat.delete_message": Entry("user", "chat:write", ids=answer_ids),
    "chat.follow_message": Entry("user", "chat:read", ids=answer_ids),
    "chat.cancel_message": Entry("user", "chat:write", ids=answer_ids),
    "chat.store_feedback": Entry(
        "user",
        "chat:write",
        ids=answer_ids,
        body=constant_body(rating="down", reasons=["style"], comment="Too formal."),
    ),
    "chat.withdraw_feedback": Entry("user", "chat:write", ids=answer_ids),
    "chat.share_session": Entry(
        "user",
        "chat:write",
        ids=answered_session_ids,
        body=constant_body(title="Plans", expires_in_days=30),
        status=201,
    ),
    "chat.get_share": Entry("user", "chat:read", ids=shared_session_ids),
    "chat.revoke_share": Entry("user", "chat:write", ids=shared_session_ids),
    "chat.list_shares": Entry("user", "chat:read"),
    "chat.read_share": Entry("anybody", ids=link_ids, is_for_link=True),
    "chat.copy_share": Entry("user", "chat:write", ids=link_ids, status=201, is_for_link=True),
    "chat.search_conversations": Entry("user", "chat:read"),
    "chat.get_usage": Entry("user", "chat:read"),
    "chat.get_usage_by_day": Entry("user", "chat:read"),
    "chat.get_quota": Entry("user", "chat:read"),
    "chat.export_session": Entry("user", "chat:read", ids=session_ids),
    "chat.export_sessions": Entry("user", "chat:read"),
    # 400: a request without a file.
    "chat.import_sessions": Entry("user", "chat:write", status=400),
    "chat.get_import": Entry("user", "chat:read", ids=import_ids),
    "chat.duplicate_session": Entry(
        "user", "chat:write", ids=session_ids, body=constant_body(title="Another try"), status=201
    ),
    "admin.get_overview": Entry("admin"),
    "admin.get_system": Entry("admin"),
    "admin.search_audit_log": Entry("admin"),
    "admin.export_audit_log": Entry("admin"),
    "admin.get_usage_report": Entry("admin"),
    "admin.get_latency_report": Entry("admin"),
    "admin.get_error_report": Entry("admin"),
    "admin.get_feedback_report": Entry("admin"),
    "admin.get_model_report": Entry("admin"),
    "admin.get_user_report": Entry("admin"),
    "admin.get_retention_report": Entry("admin"),
    "admin.get_overview_file": Entry("admin"),
    "admin.get_usage_file": Entry("admin"),
    "admin.get_latency_file": Entry("admin"),
    "admin.get_errors_file": Entry("admin"),
    "admin.get_feedback_file": Entry("admin"),
    "admin.get_models_file": Entry("admin"),
    "admin.get_users_file": Entry("admin"),
    "admin.get_retention_file": Entry("admin"),
    "admin.get_user_usage": Entry("admin", ids=account_ids),
    "admin.list_sessions": Entry("admin"),
    "admin.get_session": Entry("admin", ids=session_ids),
    "admin.read_session": Entry("admin", ids=session_ids, body=constant_body(reason="Ticket 4711", limit=10)),
    "admin.delete_session": Entry("admin", ids=session_ids),
    "admin.cancel_message": Entry("admin", ids=answer_ids),
    "admin.get_user_quota": Entry("admin", ids=account_ids),
    "admin.change_user_quota": Entry("admin", ids=account_ids, body=constant_body(tokens_per_day=1000)),
    "admin.create_webhook": Entry(
        "admin", body=constant_body(url="https://example.com/hook", events=["*"]), status=201
    ),
    "admin.list_shares": Entry("admin"),
    "admin.revoke_share": Entry("admin", ids=share_ids),
    "admin.list_webhooks": Entry("admin"),
    "admin.get_webhook": Entry("admin", ids=webhook_ids),
    "admin.change_webhook": Entry("admin", ids=webhook_ids, body=constant_body(description="billing")),
    "admin.delete_webhook": Entry("admin", ids=webhook_ids, status=204),
    "admin.rotate_webhook_secret": Entry("admin", ids=webhook_ids, body=constant_body(grace_hours=1)),
    "admin.test_webhook": Entry("admin", ids=webhook_ids, status=202),
    "admin.list_webhook_deliveries": Entry("admin", ids=webhook_ids),
    "admin.get_webhook_delivery": Entry("admin", ids=delivery_ids),
    "admin.redeliver_webhook": Entry("admin", ids=delivery_ids, status=202),
}


def generated(select: Callable[[Operation, Entry], bool] = lambda _operation, _entry: True) -> list[Any]:
    """Return one test case for each selected operation. A separate test fails for operations without an entry."""
    return [
        pytest.param(operation, id=key)
        for key, operation in OPERATIONS.items()
        if key in ENTRIES and select(operation, ENTRIES[key])
    ]
