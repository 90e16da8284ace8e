"""Webhook events of the three services."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.core.schema_types import new_id
from app.database.connection import Database
from app.database.repositories.chat import sessions
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.turns import turn_recovery, turn_start, turns
from app.database.repositories.turns.turns import Answer, FinalStatus, NewTurn, StartedTurn
from app.database.repositories.usage.ledger import LedgerEntry
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import AUTH, PASSWORD, Chat, User
from tests.fixtures.world import World
from tests.support.provider import Provider, answers, fails

CANARY = "canary7f3a"
CALL = LedgerEntry(1, "m", "m", False, "ok", None, 1, 2, False, 4)  # noqa: FBT003 - as the ledger has it


@pytest.fixture
def endpoint(sql: Sql) -> Callable[..., None]:
    def make(*events: str) -> None:
        sql.do(
            "INSERT INTO webhook_endpoints (uuid, url, events) VALUES (gen_random_uuid(), 'https://example.com', %s)",
            [list(events or ["*"])],
        )

    return make


def pop_events(sql: Sql) -> list[tuple[str, dict[str, Any]]]:
    """Return the recorded events, oldest first, and delete them."""
    rows = sql.rows("DELETE FROM webhook_deliveries RETURNING id, type, data")
    return [(row["type"], row["data"]) for row in sorted(rows, key=lambda row: row["id"])]


def account_data(user: User, **fields: object) -> dict[str, object]:
    return {"user_id": user.id, "role": "user", "is_active": True, "is_verified": False, **fields}


def test_account_events_contain_public_ids_and_names_of_changed_fields(
    auth_client: TestClient, admin: User, make_user: Callable[[str], User], endpoint: Callable[..., None], sql: Sql
) -> None:
    endpoint()
    user = make_user(CANARY)
    assert pop_events(sql) == [("user.registered", account_data(user))]
    auth_client.put(f"{AUTH}/profile", json={"full_name": CANARY}, headers=user.headers)
    assert pop_events(sql) == [("user.updated", account_data(user, changed=["full_name"]))]
    change = {"is_verified": True, "role": "admin"}
    auth_client.put(f"{AUTH}/admin/users/{user.id}", json=change, headers=admin.headers)
    after = account_data(user, is_verified=True, role="admin")
    assert pop_events(sql) == [("user.updated", after | {"changed": ["is_verified", "role"]})]
    auth_client.put(f"{AUTH}/admin/users/{user.id}", json=change, headers=admin.headers)
    assert pop_events(sql) == []  # the update changed nothing


def test_verified_address_emits_one_event(
    auth_client: TestClient, ada: User, endpoint: Callable[..., None], sql: Sql, world: World
) -> None:
    endpoint()
    for purpose, path, body in (
        ("verify_email", "email/verify", {}),
        ("reset_password", "password/reset", {"new_password": PASSWORD + "2"}),
    ):
        response = auth_client.post(f"{AUTH}/{path}", json={"token": world.mailed_token(ada, purpose), **body})
        assert response.status_code < 300, response.text
    assert pop_events(sql) == [("user.updated", account_data(ada, is_verified=True, changed=["is_verified"]))]


def test_erasure_deletes_earlier_events_of_account(
    auth_client: TestClient, chat: Chat, endpoint: Callable[..., None], sql: Sql
) -> None:
    endpoint()
    chat.ask(chat.open(), "Hi")
    auth_client.put(f"{AUTH}/profile", json={"full_name": "Ada"}, headers=chat.user.headers)
    assert sql.value("SELECT count(*) FROM webhook_deliveries") == 3
    receipt = auth_client.request("DELETE", f"{AUTH}/me", json={"password": PASSWORD}, headers=chat.user.headers)
    removed = {item["what"]: item["count"] for item in receipt.json()["removed"]}
    assert removed["webhook_deliveries"] == 3
    assert pop_events(sql) == [("user.erased", {"user_id": chat.user.id})]


def test_session_events_contain_no_titles(chat: Chat, endpoint: Callable[..., None], sql: Sql) -> None:
    endpoint()
    session = chat.open(title=CANARY)
    ids = {"user_id": chat.user.id, "session_id": session}
    assert pop_events(sql) == [("session.created", ids)]
    first = chat.request("POST", "/sessions", json={"initial_message": CANARY}).json()
    assert [kind for kind, _ in pop_events(sql)] == ["session.created", "turn.completed"]
    chat.request("DELETE", f"/sessions/{session}")
    chat.request("DELETE", f"/sessions/{first['session_id']}")
    assert pop_events(sql) == [
        ("session.deleted", ids | {"message_count": 0}),
        ("session.deleted", {"user_id": chat.user.id, "session_id": first["session_id"], "message_count": 2}),
    ]
    chat.request("DELETE", f"/sessions/{session}")
    assert pop_events(sql) == []  # the session did not exist


def test_update_of_session_emits_the_names_of_the_fields_that_have_changed(
    chat: Chat, endpoint: Callable[..., None], sql: Sql
) -> None:
    session = chat.open()
    endpoint()
    fields = {"title": CANARY, "tags": [CANARY], "context": {CANARY: CANARY}, "is_pinned": True, "is_archived": False}
    for changed in (["context", "is_pinned", "tags", "title"], None):  # the second time nothing changes
        assert chat.request("PATCH", f"/sessions/{session}", json=fields).status_code == 200
        data = {"user_id": chat.user.id, "session_id": session, "changed": changed}
        assert pop_events(sql) == ([("session.updated", data)] if changed else [])


def test_turn_events_contain_ids_and_usage_only(
    chat: Chat, endpoint: Callable[..., None], sql: Sql, provider: Provider
) -> None:
    endpoint("turn.completed", "turn.failed")
    session = chat.open()
    provider.script(answers(CANARY, usage=(90, 10)))
    answer = chat.ask(session, CANARY, context={CANARY: CANARY})["ai_response"]
    ((kind, data),) = pop_events(sql)
    assert kind == "turn.completed"
    assert CANARY not in json.dumps(data)
    meta = answer["metadata"]
    assert data == {
        "message_id": answer["id"],
        "session_id": session,
        "user_id": chat.user.id,
        "status": "complete",
        "model_requested": meta["model_requested"],
        "model_used": meta["model_used"],
        "fallback_model": False,
        "cached": False,
        "attempts": 1,
        "tokens_used": {"input": 90, "output": 10, "total": 100},
        "tokens_estimated": False,
        "cost_usd": meta["cost_usd"],
        "first_token_ms": meta["first_token_ms"],
        "processing_time_ms": answer["processing_time_ms"],
        "error": None,
    }
    provider.script(fails(400), fails(400))
    answer = chat.ask(session, CANARY)["ai_response"]
    ((kind, data),) = pop_events(sql)
    assert (kind, data["status"], data["error"]) == ("turn.failed", "failed", answer["metadata"]["error"])


async def started(pool: Database, sql: Sql, user: User) -> tuple[int, StartedTurn]:
    user_id = sql.value("SELECT id FROM users WHERE uuid = %s", [user.id])
    async with pool.transaction() as transaction:
        session = await sessions.create(transaction, NewSession("t", {}), user_id=user_id)
    new = NewTurn(user_id, session.uuid, "Hi", {}, new_id(), new_id(), timedelta(seconds=60))
    async with pool.autocommit() as connection:
        turn = await turn_start.start_turn(connection, new)
    assert turn is not None
    return user_id, turn


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("complete", "turn.completed"),
        ("failed", "turn.failed"),
        ("cancelled", "turn.cancelled"),
        ("interrupted", "turn.interrupted"),
    ],
)
async def test_each_outcome_of_a_turn_emits_one_event(
    pool: Database, ada: User, endpoint: Callable[..., None], sql: Sql, status: FinalStatus, event: str
) -> None:
    endpoint("turn.completed", "turn.failed", "turn.cancelled", "turn.interrupted")
    user_id, turn = await started(pool, sql, ada)
    for _ in range(2):
        async with pool.driver_connection() as connection:
            answer = Answer("Hello.", status, {}, tokens_used=3, processing_time_ms=4)
            await turns.complete_turn(connection, turn, answer, user_id=user_id, calls=[CALL])
    ((kind, data),) = pop_events(sql)
    assert (kind, data["status"], data["message_id"]) == (event, status, str(turn.answer_uuid))


async def test_recovered_turn_emits_event(pool: Database, ada: User, endpoint: Callable[..., None], sql: Sql) -> None:
    endpoint("turn.interrupted")
    _, turn = await started(pool, sql, ada)
    sql.do("UPDATE chat_messages SET lease_expires_at = now() - interval '1 min' WHERE status = 'pending'")
    async with pool.autocommit() as connection:
        (found,) = await turn_recovery.find_orphaned(connection, limit=10, sent_messages=1)
    answer = Answer("", "interrupted", {"error": "interrupted"}, tokens_used=0, processing_time_ms=0)

    async def interrupt_turn() -> bool:
        async with pool.autocommit() as connection:
            return await turn_recovery.interrupt_orphaned(connection, found, answer, CALL)

    assert sorted(await asyncio.gather(interrupt_turn(), interrupt_turn(), interrupt_turn())) == [False, False, True]
    ((kind, data),) = pop_events(sql)
    assert (kind, data["message_id"], data["error"]) == ("turn.interrupted", str(turn.answer_uuid), "interrupted")


def test_exhausted_quota_emits_one_event(
    chat: Chat, endpoint: Callable[..., None], sql: Sql, provider: Provider
) -> None:
    endpoint("quota.exceeded")
    sql.do("UPDATE users SET quota_tokens_per_day = 100, quota_cost_per_month = 0.5 WHERE uuid = %s", [chat.user.id])
    provider.script(answers("Yes.", usage=(90, 20)))
    assert chat.request("POST", "/direct", json={"message": "Hi", "max_tokens": 50}).status_code == 200
    assert sql.value("SELECT count(*) FROM webhook_deliveries") == 0  # exhausted, but no question was refused yet
    for _ in range(3):
        assert chat.request("POST", "/direct", json={"message": "Hi"}).status_code == 429
    quota = chat.request("GET", "/quota").json()["tokens_per_day"]
    figures = {name: quota[name] for name in ("limit", "used")}
    (event,) = sql.rows("SELECT data FROM webhook_deliveries")
    resets_at = event["data"].pop("resets_at")
    assert event["data"] == {"user_id": chat.user.id, "quota": "tokens_per_day", **figures}
    assert resets_at == quota["resets_at"]


def test_refused_requests_emit_no_event(
    auth_client: TestClient, chat: Chat, sql: Sql, endpoint: Callable[..., None]
) -> None:
    endpoint()
    body = {"email": "x@example.com", "username": chat.user.username, "password": PASSWORD}
    assert auth_client.post(f"{AUTH}/register", json=body).status_code == 400
    assert auth_client.request("DELETE", f"{AUTH}/me", json={"password": "wrong"}, headers=chat.user.headers).is_error
    assert chat.request("DELETE", f"/sessions/{new_id()}").status_code == 404
    assert pop_events(sql) == []


def test_events_add_no_statement_to_turns_and_sessions(chat: Chat, endpoint: Callable[..., None], sql: Sql) -> None:
    def statements() -> list[int]:
        counts = []
        session = chat.open()
        for method, path, body in (
            ("POST", "/sessions", {"title": "t"}),
            ("POST", f"/sessions/{session}/messages", {"message": "Hi"}),
            ("DELETE", f"/sessions/{session}", None),
        ):
            with counted_statements() as statements:
                assert chat.request(method, path, json=body).status_code < 300
            assert not [one for one in statements if one.lstrip().startswith("INSERT INTO webhook")]
            counts.append(len(statements))
        return counts

    without = statements()
    endpoint()
    assert statements() == without
