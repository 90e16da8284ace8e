"""Erasure of accounts during other requests, and in batches."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest.mock import Mock

import pytest
from fastapi.testclient import TestClient

from app.auth.login_throttle import LoginThrottle
from app.auth.logins import LoginService
from app.core.exceptions import UnauthorizedError
from app.core.schema_types import new_id
from app.database.connection import Database
from app.database.repositories.accounts import erasure
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit.audit_log import RequestOrigin
from tests.auth.conftest import CANARY, insert_conversations
from tests.auth.privacy.erasures import counts, erase
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import AUTH, Chat, User, assert_problem
from tests.support.provider import Provider, answers, held


def test_one_of_concurrent_erasures_succeeds(auth_client: TestClient, eve: User, sql: Sql) -> None:
    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(response.status_code for response in pool.map(lambda _: erase(auth_client, eve), range(6)))
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {400, 401}  # 400: erased between the checks of token and password
    assert sql.value("SELECT count(*) FROM audit_log WHERE action = 'account.erased'") == 1


def test_two_admins_cannot_be_erased_concurrently(
    auth_client: TestClient, admin: User, make_user: Callable[[str], User], sql: Sql
) -> None:
    for number in range(5):
        other = make_user(f"admin{number}")
        sql.do("UPDATE users SET role = 'admin' WHERE uuid = %s", [other.id])
        with ThreadPoolExecutor(2) as pool:
            responses = list(pool.map(lambda user: erase(auth_client, user), (admin, other)))
        assert sorted(response.status_code for response in responses) == [200, 409]
        admin = (admin, other)[[response.status_code for response in responses].index(409)]
        assert sql.value("SELECT count(*) FROM users WHERE role = 'admin'") == 1


def test_running_turn_is_not_stored_and_its_cost_is_anonymous(
    auth_client: TestClient, chat: Chat, sql: Sql, provider: Provider
) -> None:
    session, gate = chat.open(), threading.Event()
    provider.script(held(gate, answers(f"{CANARY} answer", usage=(11, 4))), held(gate, answers("direct")))
    with ThreadPoolExecutor(2) as pool:
        future = pool.submit(chat.request, "POST", f"/sessions/{session}/messages", json={"message": CANARY})
        provider.wait_for_calls(1)
        directly = pool.submit(chat.request, "POST", "/direct", json={"message": CANARY})
        provider.wait_for_calls(2)
        receipt = erase(auth_client, chat.user).json()
        gate.set()
        assert_problem(future.result(), 404)
        assert directly.result().status_code == 200  # the question preceded the erasure
    assert counts(receipt)["chat_messages"] == 2
    assert CANARY not in "".join(sql.everything().values())
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    calls = sql.rows("SELECT user_id, session_id FROM llm_calls")
    assert calls == [{"user_id": None, "session_id": None}] * 2


def test_requests_during_erasure_get_401(auth_client: TestClient, chat: Chat, sql: Sql) -> None:
    key = {"name": "k", "scopes": ["chat:read"]}
    with ThreadPoolExecutor(2) as pool:
        sql.do("BEGIN")
        try:
            sql.do("DELETE FROM users WHERE uuid = %s", [chat.user.id])
            waiting = [
                pool.submit(chat.request, "POST", "/sessions", json={}),
                pool.submit(auth_client.post, f"{AUTH}/api-keys", json=key, headers=chat.user.headers),
            ]
            sql.wait_for_blocked(2)  # they are authenticated and wait for the lock
        finally:
            sql.do("COMMIT")
        for request in waiting:
            assert_problem(request.result(), 401, "unauthorized")


def test_concurrent_password_change_prevents_erasure(auth_client: TestClient, ada: User, sql: Sql) -> None:
    with ThreadPoolExecutor(1) as pool:
        sql.do("BEGIN")
        try:
            sql.do("UPDATE users SET password_hash = 'another'")
            waiting = pool.submit(erase, auth_client, ada)
            sql.wait_for_blocked()  # the old password has been checked
        finally:
            sql.do("COMMIT")
        assert_problem(waiting.result(), 409, "password_changed")
    assert sql.value("SELECT count(*) FROM users") == 1


def test_erasure_deletes_messages_in_batches(
    auth_client: TestClient, ada: User, bob: User, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_BATCH_SIZE", 50)
    for user in (ada, bob):
        for messages in (0, 1, 49, 50, 51, 100, 237, *[3] * 30):
            insert_conversations(sql, user, sessions=1, messages=messages)
    with counted_statements() as statements:
        receipt = erase(auth_client, ada).json()
    written = [statement for statement in statements if statement.startswith("DELETE FROM chat_messages")]
    assert len(written) > 578 // 50
    assert counts(receipt)["chat_messages"] == 0 + 1 + 49 + 50 + 51 + 100 + 237 + 90
    assert counts(receipt)["chat_sessions"] == 37
    assert counts(receipt, "kept")["llm_calls"] == 272
    assert sql.value("SELECT count(*) FROM chat_messages") == 578
    assert sql.value("SELECT count(*) FROM llm_calls WHERE user_id IS NULL") == 272


async def test_password_of_an_account_that_was_just_erased_is_neither_wrong_nor_counted(
    pool: Database, sql: Sql
) -> None:
    throttle = LoginThrottle(pool, max_per_account=10, max_per_network=10, window=timedelta(minutes=15))
    logins = Mock(spec=LoginService, database=pool, throttle=throttle)
    caller = Mock(spec=Principal, id=987_654, uuid=new_id(), session_uuid=new_id())
    with pytest.raises(UnauthorizedError):
        await LoginService.confirm_password(logins, caller, "password", RequestOrigin("10.0.0.1", None, None), Mock())
    assert sql.value("SELECT count(*) FROM login_throttles") == 0
