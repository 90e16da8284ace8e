"""Erasure of accounts by admins."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app.database.connection import DatabaseSession
from app.database.repositories.accounts import erasure
from app.database.repositories.accounts.erasure import ErasureResult, LockedAccount
from tests.auth.conftest import CANARY
from tests.auth.privacy.erasures import counts
from tests.auth.users.user_requests import USERS, make_admin, update_user
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, Chat, User, assert_problem, login


def erase(client: TestClient, admin: User, user: User) -> Response:
    return client.delete(f"{USERS}/{user.id}", headers=admin.headers)


def erasures(sql: Sql) -> list[dict[str, object]]:
    return sql.rows(
        "SELECT actor_id::text, target_id::text, outcome, details FROM audit_log WHERE action = 'account.erased'"
    )


def test_admin_erases_account_as_its_owner_would(auth_client: TestClient, admin: User, eve: User, sql: Sql) -> None:
    response = erase(auth_client, admin, eve)
    assert response.status_code == 200, response.text
    removed = counts(response.json())
    assert (removed["users"], removed["chat_messages"], removed["invitations"]) == (1, 6, 1)
    assert all(CANARY not in rows.lower() for rows in sql.everything().values())
    assert_problem(auth_client.get(f"{AUTH}/me", headers=eve.headers), 401, "unauthorized")
    assert_problem(erase(auth_client, admin, eve), 404, "not_found")
    (entry,) = erasures(sql)
    assert (entry["actor_id"], entry["target_id"], entry["outcome"]) == (admin.id, eve.id, "done")
    events = sql.rows("SELECT data FROM webhook_deliveries WHERE type = 'user.erased'")
    assert events == [{"data": {"user_id": eve.id}}]


def test_admin_cannot_erase_the_own_account(auth_client: TestClient, admin: User, sql: Sql) -> None:
    assert_problem(erase(auth_client, admin, admin), 409, "own_account")
    assert sql.value("SELECT count(*) FROM users") == 1
    (entry,) = erasures(sql)
    assert (entry["outcome"], entry["details"]) == ("refused", {"reason": "own_account", "count": 1})


def test_of_two_admins_who_erase_each_other_one_stays(
    auth_client: TestClient, admin: User, ada: User, sql: Sql
) -> None:
    make_admin(sql, ada)
    with ThreadPoolExecutor(2) as pool:
        responses = list(pool.map(lambda pair: erase(auth_client, *pair), [(admin, ada), (ada, admin)]))
    statuses = sorted(response.status_code for response in responses)
    # The second is refused at its authentication, or after it has waited for the first.
    assert statuses in ([200, 401], [200, 403])
    assert sql.value("SELECT count(*) FROM users") == 1


def test_concurrent_erasures_of_an_account(auth_client: TestClient, admin: User, ada: User, sql: Sql) -> None:
    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(
            response.status_code for response in pool.map(lambda _: erase(auth_client, admin, ada), range(4))
        )
    assert statuses == [200, 404, 404, 404]
    assert len(erasures(sql)) == 1


def test_other_admins_do_not_wait_for_an_erasure(
    auth_client: TestClient,
    chat_client: TestClient,
    admin: User,
    ada: User,
    bob: User,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_admin(sql, ada)
    is_locked, may_end = threading.Event(), threading.Event()
    erase_rows = erasure.erase

    async def slow_erase(session: DatabaseSession, account: LockedAccount) -> ErasureResult:
        is_locked.set()
        await asyncio.to_thread(may_end.wait, 60)
        return await erase_rows(session, account)

    monkeypatch.setattr(erasure, "erase", slow_erase)
    with ThreadPoolExecutor(1) as pool:
        erased = pool.submit(erase, auth_client, admin, bob)
        try:
            assert is_locked.wait(60)
            for user in (admin, ada):
                assert login(auth_client, user.username).status_code == 200
                assert Chat(chat_client, user).open()
                assert update_user(auth_client, user, admin.id, full_name=user.username).status_code == 200
        finally:
            may_end.set()
        assert erased.result().status_code == 200


def test_account_that_is_promoted_at_the_same_time_is_not_erased(
    auth_client: TestClient, admin: User, ada: User, sql: Sql
) -> None:
    with ThreadPoolExecutor(1) as pool:
        sql.do("BEGIN")
        try:
            make_admin(sql, ada)
            waiting = pool.submit(erase, auth_client, admin, ada)
            sql.wait_for_blocked()
        finally:
            sql.do("COMMIT")
        assert_problem(waiting.result(), 409, "conflict")
    assert sql.value("SELECT count(*) FROM users") == 2


def test_admin_who_is_demoted_at_the_same_time_erases_nobody(
    auth_client: TestClient, admin: User, ada: User, sql: Sql
) -> None:
    with ThreadPoolExecutor(1) as pool:
        sql.do("BEGIN")
        try:
            sql.do("UPDATE users SET role = 'user' WHERE uuid = %s", [admin.id])
            waiting = pool.submit(erase, auth_client, admin, ada)
            sql.wait_for_blocked()
        finally:
            sql.do("COMMIT")
        assert_problem(waiting.result(), 403, "admin_required")
    assert sql.value("SELECT count(*) FROM users") == 2
