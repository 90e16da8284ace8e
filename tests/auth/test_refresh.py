"""Refresh token rotation, logout and the list of logins."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import SecretStr

from app import auth_main, main
from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.core.security import RefreshTokens, hash_token, new_one_time_token
from app.database.repositories.accounts import auth_sessions
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, AUTH, CHAT, User, assert_problem


def refresh(client: TestClient, token: str) -> Response:
    return client.post(f"{AUTH}/refresh", json={"refresh_token": token})


def refreshed(client: TestClient, token: str) -> str:
    response = refresh(client, token)
    assert response.status_code == 200, response.text
    return str(response.json()["refresh_token"])


def age_last_exchange(sql: Sql, seconds: int) -> None:
    sql.do("UPDATE auth_sessions SET rotated_at = rotated_at - make_interval(secs => %s)", [seconds])


def test_refresh_returns_successor_and_access_token(auth_client: TestClient, ada: User) -> None:
    response = refresh(auth_client, ada.refresh_token)
    assert response.status_code == 200
    tokens = response.json()
    assert tokens["refresh_token"] != ada.refresh_token
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 1800)
    me = auth_client.get(f"{AUTH}/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert me.json()["id"] == ada.id
    # The previous access token belongs to the same login and stays valid.
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).status_code == 200


def test_refresh_extends_login(auth_client: TestClient, sql: Sql, ada: User) -> None:
    sql.do("UPDATE auth_sessions SET expires_at = now() + interval '1 minute'")
    refreshed(auth_client, ada.refresh_token)
    assert sql.value("SELECT expires_at > now() + interval '6 days' FROM auth_sessions")


@pytest.mark.parametrize("seconds", [1, 11, 6 * 86_400])
def test_used_token_gets_same_successor_until_that_is_used(
    auth_client: TestClient, sql: Sql, ada: User, seconds: int
) -> None:
    successor = refreshed(auth_client, ada.refresh_token)
    for _ in range(3):
        age_last_exchange(sql, seconds)
        assert refreshed(auth_client, ada.refresh_token) == successor
    assert sql.value("SELECT revoked_at FROM auth_sessions") is None
    assert refreshed(auth_client, successor) not in {successor, ada.refresh_token}
    assert_problem(refresh(auth_client, ada.refresh_token), 401, "invalid_refresh_token")
    assert_ended_as_replayed(auth_client, sql, ada, ada.refresh_token, successor)


def assert_ended_as_replayed(auth_client: TestClient, sql: Sql, ada: User, *tokens: str) -> None:
    assert sql.value("SELECT revoked_reason FROM auth_sessions") == "replayed"
    for token in tokens:
        assert_problem(refresh(auth_client, token), 401, "invalid_refresh_token")
    assert_problem(auth_client.get(f"{AUTH}/me", headers=ada.headers), 401)
    (entry,) = sql.rows("SELECT target_id, outcome FROM audit_log WHERE action = 'login.replayed'")
    assert entry == {"target_id": UUID(ada.id), "outcome": "refused"}


def test_reuse_of_older_token_ends_login(auth_client: TestClient, sql: Sql, ada: User) -> None:
    parent = refreshed(auth_client, ada.refresh_token)
    child = refreshed(auth_client, parent)
    assert_problem(refresh(auth_client, ada.refresh_token), 401, "invalid_refresh_token")
    assert_ended_as_replayed(auth_client, sql, ada, ada.refresh_token, parent, child)


def test_restart_neither_ends_nor_restores_used_tokens(
    auth_client: TestClient, sql: Sql, settings: Settings, ada: User
) -> None:
    parent = refreshed(auth_client, ada.refresh_token)
    child = refreshed(auth_client, parent)
    age_last_exchange(sql, 3600)
    with TestClient(auth_main.create(settings)) as restarted:
        assert refreshed(restarted, parent) == child
        for token in (ada.refresh_token, parent, child):
            assert_problem(refresh(restarted, token), 401, "invalid_refresh_token")
        assert_problem(restarted.get(f"{AUTH}/me", headers=ada.headers), 401)


def test_an_exchange_that_was_not_stored_does_not_count_as_use(
    auth_client: TestClient, sql: Sql, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    successor = refreshed(auth_client, ada.refresh_token)

    async def fail(*_arguments: Any, **_named: Any) -> None:  # noqa: ANN401 - ignored
        raise DatabaseUnavailableError

    with monkeypatch.context() as outage:
        outage.setattr(auth_sessions, "rotate", fail)
        for token in (successor, ada.refresh_token):
            assert_problem(refresh(auth_client, token), 503, "database_unavailable")
    age_last_exchange(sql, 3600)
    assert refreshed(auth_client, ada.refresh_token) == successor
    child = refreshed(auth_client, successor)
    assert refreshed(auth_client, successor) == child
    assert_problem(refresh(auth_client, ada.refresh_token), 401, "invalid_refresh_token")
    assert_ended_as_replayed(auth_client, sql, ada, child)


def test_lost_response_before_a_new_secret_key_ends_no_login(
    auth_client: TestClient, sql: Sql, settings: Settings, ada: User
) -> None:
    successor = refreshed(auth_client, ada.refresh_token)
    changed = settings.model_copy(update={"SECRET_KEY": SecretStr("another key, after the first one was lost")})
    with TestClient(auth_main.create(changed)) as restarted:
        assert_problem(refresh(restarted, ada.refresh_token), 401, "invalid_refresh_token")
        assert sql.value("SELECT revoked_at FROM auth_sessions") is None
        refreshed(restarted, successor)


def test_a_new_secret_key_voids_access_tokens_and_ends_no_login(
    auth_client: TestClient, sql: Sql, settings: Settings, ada: User
) -> None:
    key = {"name": "report", "scopes": ["chat:read"]}
    api_key = auth_client.post(f"{AUTH}/api-keys", json=key, headers=ada.headers).json()["key"]
    mailed = new_one_time_token()
    sql.do(
        "INSERT INTO one_time_tokens (user_id, purpose, token_hash, expires_at)"
        " SELECT id, 'verify_email', %s, now() + interval '1 h' FROM users",
        [hash_token(mailed)],
    )
    changed = settings.model_copy(update={"SECRET_KEY": SecretStr("another key, after the first one was lost")})
    with TestClient(auth_main.create(changed)) as restarted, TestClient(main.create(changed)) as chat:
        assert_problem(restarted.get(f"{AUTH}/me", headers=ada.headers), 401, "unauthorized")
        tokens = refresh(restarted, ada.refresh_token).json()
        me = restarted.get(f"{AUTH}/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
        assert me.json()["id"] == ada.id
        refreshed(restarted, tokens["refresh_token"])
        assert chat.get(f"{CHAT}/sessions", headers={"Authorization": f"Bearer {api_key}"}).status_code == 200
        assert restarted.post(f"{AUTH}/email/verify", json={"token": mailed}).status_code == 200
        # What the new key cannot recognise as used is refused, and ends nothing.
        assert_problem(refresh(restarted, ada.refresh_token), 401, "invalid_refresh_token")
    assert sql.value("SELECT revoked_at FROM auth_sessions") is None


def test_forged_token_does_not_end_login(auth_client: TestClient, sql: Sql, ada: User) -> None:
    session = sql.value("SELECT uuid FROM auth_sessions")
    forged = RefreshTokens.from_secret("an attacker does not have the key").issue(session)
    assert_problem(refresh(auth_client, forged), 401, "invalid_refresh_token")
    assert sql.value("SELECT revoked_at FROM auth_sessions") is None
    assert refresh(auth_client, ada.refresh_token).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("UPDATE auth_sessions SET revoked_at = now(), revoked_reason = 'test'", id="login revoked"),
        pytest.param("UPDATE auth_sessions SET expires_at = now()", id="login expired"),
        pytest.param("UPDATE users SET is_active = false", id="account disabled"),
        pytest.param("DELETE FROM users", id="account erased"),
    ],
)
def test_ended_login_cannot_be_refreshed(auth_client: TestClient, sql: Sql, ada: User, change: str) -> None:
    successor = refreshed(auth_client, ada.refresh_token)
    sql.do(change)
    answers = [refresh(auth_client, token) for token in (successor, ada.refresh_token)]
    problems = [assert_problem(answer, 401, "invalid_refresh_token") for answer in answers]
    for problem in problems:
        del problem["request_id"]
    assert problems[0] == problems[1]
    assert sql.rows("SELECT 1 FROM auth_sessions WHERE revoked_reason = 'replayed'") == []


@pytest.mark.parametrize("token", ["x", "a.b.c", "A" * 86, "=" * 86, "é" * 20, "../../etc", "A" * 200])
def test_malformed_refresh_token_is_refused(auth_client: TestClient, ada: User, token: str) -> None:
    assert_problem(refresh(auth_client, token), 401, "invalid_refresh_token")


def test_access_token_is_refused_as_refresh_token(auth_client: TestClient, ada: User) -> None:
    assert refresh(auth_client, ada.access_token).status_code in {401, 422}


def test_twenty_concurrent_refreshes_rotate_once_and_get_same_successor(
    auth_client: TestClient, sql: Sql, ada: User
) -> None:
    sql.do(
        """
        CREATE TABLE IF NOT EXISTS rotations (at timestamptz);
        CREATE OR REPLACE FUNCTION count_rotation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            'BEGIN INSERT INTO rotations VALUES (now()); RETURN NEW; END';
        CREATE OR REPLACE TRIGGER rotations AFTER UPDATE OF token_hash ON auth_sessions
            FOR EACH ROW EXECUTE FUNCTION count_rotation()
        """
    )
    try:
        with ThreadPoolExecutor(20) as pool:
            responses = list(pool.map(lambda _: refresh(auth_client, ada.refresh_token), range(20)))
        assert [response.status_code for response in responses] == [200] * 20
        assert len({response.json()["refresh_token"] for response in responses}) == 1
        assert sql.value("SELECT count(*) FROM rotations") == 1
    finally:
        sql.do("DROP FUNCTION count_rotation CASCADE; DROP TABLE rotations")


@pytest.mark.parametrize("path", ["/logout", "/logout-all"])
def test_logout_revokes_tokens_on_every_service(
    auth_client: TestClient, chat_client: TestClient, admin_client: TestClient, admin: User, path: str
) -> None:
    routes = [(auth_client, f"{AUTH}/me"), (chat_client, f"{CHAT}/sessions"), (admin_client, f"{ADMIN}/overview")]
    assert [client.get(route, headers=admin.headers).status_code for client, route in routes] == [200] * 3
    assert auth_client.post(f"{AUTH}{path}", headers=admin.headers).status_code == 200
    for client, route in routes:
        assert_problem(client.get(route, headers=admin.headers), 401, "unauthorized")
    assert_problem(refresh(auth_client, admin.refresh_token), 401, "invalid_refresh_token")


def test_logout_ends_one_login_and_logout_all_ends_all(
    auth_client: TestClient, sql: Sql, ada: User, log_in_again: Callable[[User], User]
) -> None:
    second, third = log_in_again(ada), log_in_again(ada)
    auth_client.post(f"{AUTH}/logout", headers=ada.headers).raise_for_status()
    assert auth_client.get(f"{AUTH}/me", headers=second.headers).status_code == 200
    auth_client.post(f"{AUTH}/logout-all", headers=second.headers).raise_for_status()
    for user in (second, third):
        assert_problem(auth_client.get(f"{AUTH}/me", headers=user.headers), 401)
    reasons = sql.rows("SELECT revoked_reason FROM auth_sessions ORDER BY id")
    assert [row["revoked_reason"] for row in reasons] == ["logout", "logout_all", "logout_all"]
    actions = sql.rows("SELECT action FROM audit_log WHERE action LIKE 'login.%%ended' ORDER BY id")
    assert [row["action"] for row in actions] == ["login.ended", "login.all_ended"]


def test_concurrent_logouts_are_audited_once(auth_client: TestClient, ada: User, sql: Sql) -> None:
    with ThreadPoolExecutor(4) as pool:
        sql.do("BEGIN")
        try:
            sql.do("SELECT id FROM auth_sessions FOR UPDATE")
            logouts = [pool.submit(auth_client.post, f"{AUTH}/logout", headers=ada.headers) for _ in range(4)]
            sql.wait_for_blocked(4)
        finally:
            sql.do("COMMIT")
        assert [logout.result().status_code for logout in logouts] == [200] * 4
    assert sql.value("SELECT count(*) FROM audit_log WHERE action = 'login.ended'") == 1


def test_logins_are_listed_and_can_be_removed(
    auth_client: TestClient, ada: User, bob: User, log_in_again: Callable[[User], User]
) -> None:
    phone = log_in_again(ada)
    listed = auth_client.get(f"{AUTH}/sessions", headers=ada.headers).json()
    assert listed["pagination"]["total"] == 2
    assert [device["is_current"] for device in listed["sessions"]] == [False, True]
    device = listed["sessions"][0]
    assert device["user_agent"] == "testclient"
    assert set(device) == {"id", "created_at", "last_used_at", "expires_at", "user_agent", "ip", "is_current"}
    path = f"{AUTH}/sessions/{device['id']}"
    assert_problem(auth_client.delete(path, headers=bob.headers), 404, "not_found")
    assert auth_client.delete(path, headers=ada.headers).status_code == 200
    assert_problem(auth_client.delete(path, headers=ada.headers), 404, "not_found")
    assert_problem(auth_client.get(f"{AUTH}/me", headers=phone.headers), 401)
    assert auth_client.get(f"{AUTH}/sessions", headers=ada.headers).json()["pagination"]["total"] == 1
