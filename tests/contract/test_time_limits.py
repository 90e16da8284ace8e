"""Lengths of time limits, as the services set them. Other tests overwrite the times, so a wrong length passes there."""

from collections.abc import Callable
from typing import Any

import pytest
from jose import jwt

from app.config import Settings
from tests.fixtures.services import ADMIN, AUTH, PASSWORD, User, login
from tests.fixtures.world import World
from tests.support.access import answered_session_ids
from tests.support.provider import Provider, answers

HOUR, DAY = 3600, 86_400
TOLERANCE = 60
"""Seconds that the request and the query may take."""

Act = Callable[[World, User], Any]


def refresh(world: World, user: User) -> None:
    world.sql.do("UPDATE auth_sessions SET expires_at = now() + interval '1 h'")
    response = world.services["auth"].post(f"{AUTH}/refresh", json={"refresh_token": user.refresh_token})
    assert response.is_success


def create_key(world: World, user: User) -> None:
    key = {"name": "report", "scopes": ["chat:read"], "expires_in_days": 30}
    assert world.services["auth"].post(f"{AUTH}/api-keys", json=key, headers=user.headers).is_success


def confirm_wrongly(world: World, user: User) -> None:
    body = {"current_password": "wrong password", "new_password": f"another {PASSWORD}"}
    world.services["auth"].put(f"{AUTH}/password", json=body, headers=user.headers)


def share(world: World, user: User) -> None:
    path = f"/sessions/{answered_session_ids(world, user)['session_id']}/share"
    assert world.chat(user).request("POST", path, json={"expires_in_days": 30}).is_success


def ask_with_key(path: str) -> Act:
    def ask(world: World, user: User) -> None:
        headers = {"Idempotency-Key": "limit"}
        assert (
            world.chat(user)
            .request(
                "POST", path, json={"initial_message" if path == "/sessions" else "message": "Hi"}, headers=headers
            )
            .is_success
        )

    return ask


def rotate_secret(world: World, _user: User) -> None:
    path = f"{ADMIN}/webhooks/{world.webhook()}/secret"
    assert world.services["admin"].post(path, json={}, headers=world.admin.headers).is_success


LIMITS: dict[str, tuple[Act, str, int]] = {
    "login": (lambda _world, _user: None, "SELECT expires_at FROM auth_sessions LIMIT 1", 7 * DAY),
    "refresh": (refresh, "SELECT max(expires_at) FROM auth_sessions", 7 * DAY),
    "API key": (create_key, "SELECT expires_at FROM api_keys", 30 * DAY),
    "wrong password at login": (
        lambda world, user: login(world.services["auth"], user.username, "wrong password"),
        "SELECT min(window_ends_at) FROM login_throttles WHERE attempts > 0",
        900,
    ),
    "wrong password at a confirmation": (
        confirm_wrongly,
        "SELECT window_ends_at FROM login_throttles WHERE key LIKE 'confirmation:%%'",
        900,
    ),
    "share": (share, "SELECT expires_at FROM chat_shares", 30 * DAY),
    "key of a direct question": (ask_with_key("/direct"), "SELECT expires_at FROM idempotency_keys", DAY),
    "key of a new session": (ask_with_key("/sessions"), "SELECT expires_at FROM idempotency_keys", DAY),
    "replaced webhook secret": (rotate_secret, "SELECT previous_secret_until FROM webhook_endpoints", DAY),
}


@pytest.mark.parametrize(("act", "query", "seconds"), LIMITS.values(), ids=LIMITS.keys())
def test_limit_has_its_length(world: World, provider: Provider, act: Act, query: str, seconds: int) -> None:
    provider.always(answers("Hello"))
    act(world, world.owner)
    left = world.sql.value(f"SELECT extract(epoch FROM ({query}) - now())")  # noqa: S608 - a constant
    assert seconds - TOLERANCE < left <= seconds


def test_access_token_expires_after_its_lifetime(world: World, settings: Settings) -> None:
    claims = jwt.get_unverified_claims(world.owner.access_token)
    assert claims["exp"] - claims["iat"] == settings.ACCESS_TOKEN_EXPIRE_MINUTES * 60 == HOUR // 2
