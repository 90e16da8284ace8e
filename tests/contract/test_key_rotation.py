"""Rotation of SECRET_KEY: what was issued with either key works during the change."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from redis import Redis

from app import admin_main, auth_main, main
from app.config import Settings
from app.core.link_tokens import LinkTokens
from app.core.webhook_secrets import WebhookSecrets
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, AUTH, CHAT, assert_problem, login, register
from tests.support.provider import Provider

OLD, NEW = "the-old-key-of-this-test-of-32-bytes-or-more", "the-new-key-of-this-test-of-32-bytes-or-more"
STEPS = [(OLD, None), (OLD, NEW), (NEW, OLD), (NEW, None)]
"""Values of SECRET_KEY and SECRET_KEY_PREVIOUS, in the order of the documented steps."""


@dataclass
class System:
    """The three services with one pair of keys."""

    auth: TestClient
    chat: TestClient
    admin: TestClient


@pytest.fixture(scope="module")
def systems(settings: Settings, cheap_passwords: None) -> Iterator[list[System]]:
    """One system for each step, all running at the same time as during a rolling restart."""
    with ExitStack() as stack:
        found = []
        for key, previous in STEPS:
            update = {"SECRET_KEY": SecretStr(key), "SECRET_KEY_PREVIOUS": SecretStr(previous) if previous else None}
            changed = settings.model_copy(update=update)
            clients = [
                stack.enter_context(TestClient(module.create(changed))) for module in (auth_main, main, admin_main)
            ]
            found.append(System(*clients))
        yield found


@dataclass
class Issued:
    """What a system has issued."""

    tokens: dict[str, Any]
    cursor: str
    share: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}


def issue(system: System) -> Issued:
    tokens = login(system.auth, "ada").json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    for _ in range(2):
        session = system.chat.post(f"{CHAT}/sessions", json={}, headers=headers).json()["session_id"]
    system.chat.post(f"{CHAT}/sessions/{session}/messages", json={"message": "Hi"}, headers=headers)
    share = system.chat.post(f"{CHAT}/sessions/{session}/share", json={}, headers=headers).json()
    page = system.chat.get(f"{CHAT}/sessions", params={"size": 1}, headers=headers).json()
    return Issued(tokens, page["next_cursor"], share["token"])


def accepts(system: System, issued: Issued) -> bool:
    """Return whether a system accepts all that another one has issued, without using it up; not some of it."""
    found = [
        system.auth.get(f"{AUTH}/me", headers=issued.headers).status_code == 200,
        system.admin.get(f"{ADMIN}/overview", headers=issued.headers).status_code == 403,  # not 401
        system.chat.get(f"{CHAT}/sessions", headers=issued.headers).status_code == 200,
        system.chat.get(f"{CHAT}/shared/{issued.share}").status_code == 200,
    ]
    assert len(set(found)) == 1, found
    return found[0]


def test_neighbouring_steps_accept_each_others_tokens(
    systems: list[System], sql: Sql, redis: Redis, provider: Provider
) -> None:
    assert register(systems[0].auth, "ada").status_code == 201
    issued = [issue(system) for system in systems]
    accepted = [[accepts(system, each) for each in issued] for system in systems]
    assert accepted == [
        [True, True, False, False],
        [True, True, True, True],
        [True, True, True, True],
        [False, False, True, True],
    ]
    headers = issued[0].headers
    for system in systems[1:3]:
        page: dict[str, str | int] = {"size": 1, "cursor": issued[0].cursor}
        assert system.chat.get(f"{CHAT}/sessions", params=page, headers=headers).status_code == 200


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 3), (3, 2)])
def test_a_lost_response_to_a_refresh_is_repeated_by_a_process_of_another_step(
    systems: list[System], sql: Sql, redis: Redis, first: int, second: int
) -> None:
    register(systems[first].auth, "ada")
    token = login(systems[first].auth, "ada").json()["refresh_token"]
    lost = systems[first].auth.post(f"{AUTH}/refresh", json={"refresh_token": token})
    assert lost.status_code == 200
    again = systems[second].auth.post(f"{AUTH}/refresh", json={"refresh_token": token})
    assert again.json()["refresh_token"] == lost.json()["refresh_token"]
    for system in systems:
        next_token = again.json()["refresh_token"]
        again = system.auth.post(f"{AUTH}/refresh", json={"refresh_token": next_token})
        assert again.status_code == 200


def test_a_used_token_of_the_old_key_is_recognised_during_the_change(
    systems: list[System], sql: Sql, redis: Redis
) -> None:
    register(systems[0].auth, "ada")
    token = login(systems[0].auth, "ada").json()["refresh_token"]
    current = systems[0].auth.post(f"{AUTH}/refresh", json={"refresh_token": token}).json()["refresh_token"]
    current = systems[2].auth.post(f"{AUTH}/refresh", json={"refresh_token": current}).json()["refresh_token"]
    assert_problem(systems[2].auth.post(f"{AUTH}/refresh", json={"refresh_token": token}), 401)
    assert_problem(systems[2].auth.post(f"{AUTH}/refresh", json={"refresh_token": current}), 401)
    assert sql.value("SELECT revoked_at IS NOT NULL FROM auth_sessions")


def test_invitations_of_both_keys_are_accepted_during_the_change() -> None:
    target = uuid4()
    old, new = (
        LinkTokens.from_secret(OLD, "invitation tokens").issue(target),
        LinkTokens.from_secret(NEW, "invitation tokens").issue(target),
    )
    for tokens in (
        LinkTokens.from_secret(OLD, "invitation tokens", [NEW]),
        LinkTokens.from_secret(NEW, "invitation tokens", [OLD]),
    ):
        assert tokens.verify(old) == tokens.verify(new) == target


def test_webhooks_are_signed_with_the_secrets_of_both_keys_during_the_change() -> None:
    endpoint = uuid4()
    old, new = WebhookSecrets.from_secret(OLD), WebhookSecrets.from_secret(NEW)
    both = WebhookSecrets.from_secret(NEW, (), [OLD])
    signing = both.signing(endpoint, generation=2, has_previous=True, uses_shared=False)
    assert signing == tuple(secrets.own(endpoint, generation) for secrets in (new, old) for generation in (2, 1))
    assert both.own(endpoint, 2) == new.own(endpoint, 2)
