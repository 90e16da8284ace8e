"""Erasure of accounts: deleted and retained data, confirmation and audit."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app import auth_main
from app.config import Settings
from tests.auth.conftest import CANARY
from tests.auth.privacy.erasures import counts, erase
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, AUTH, CHAT, PASSWORD, Chat, User, assert_problem, login, register

TABLES_WITHOUT_PERSONAL_DATA = {
    "search_backfill",
    "service_instances",
    "usage_repair",
    "webhook_endpoints",
    "worker_jobs",
}
"""Tables without personal data."""
GLOBAL_ROLLUPS = {
    *("usage_quarters", "latency_quarters", "error_quarters", "feedback_quarters"),
    *("provider_usage_quarters", "provider_latency_quarters", "provider_error_quarters"),
}


def test_erased_account_leaves_no_data_in_any_table(auth_client: TestClient, eve: User, sql: Sql, redis: Redis) -> None:
    identity = [CANARY, "203.0.113.77", CANARY.encode().hex()]
    before = sql.everything()
    assert {
        table for table, rows in before.items() if not rows
    } <= TABLES_WITHOUT_PERSONAL_DATA  # for a new table, extend the fixture `eve`
    for table in (
        "users",
        "auth_sessions",
        "api_keys",
        "chat_sessions",
        "chat_messages",
        "chat_shares",
        "message_feedback",
        "outgoing_mails",
        "invitations",
        "search_documents",
    ):
        assert CANARY in before[table].lower(), table
    ids = sql.rows("SELECT uuid FROM users UNION SELECT uuid FROM chat_sessions UNION SELECT uuid FROM chat_messages")
    response = erase(auth_client, eve)
    assert response.status_code == 200, response.text
    after = sql.everything()
    for table, rows in after.items():
        for word in identity:
            assert word not in rows.lower(), table
    for row in ids:
        traces = {table for table, rows in after.items() if str(row["uuid"]) in rows}
        # The audit log and the webhook event about the erasure keep the account's id, the ledger those of answers.
        tables_with_id = {"webhook_deliveries"} if str(row["uuid"]) == eve.id else set()
        assert traces <= {"audit_log", "llm_calls"} | tables_with_id
    remaining_tables = {table for table, rows in after.items() if rows}
    shared_tables = {
        "audit_log",
        "llm_calls",
        "login_throttles",
        "search_pending",
        "usage_pending",
        "webhook_deliveries",
    }
    assert remaining_tables <= shared_tables | GLOBAL_ROLLUPS | TABLES_WITHOUT_PERSONAL_DATA
    assert "account:" not in after["login_throttles"]
    assert "name:" not in after["login_throttles"]


def test_receipt_lists_deleted_and_retained_data_with_reasons(
    auth_client: TestClient, eve: User, sql: Sql, redis: Redis
) -> None:
    calls = sql.value("SELECT count(*) FROM llm_calls")
    receipt = erase(auth_client, eve).json()
    assert counts(receipt) == {
        "users": 1,
        "auth_sessions": 1,
        "api_keys": 1,
        "one_time_tokens": 1,
        "idempotency_keys": 1,
        "outgoing_mails": 1,
        "invitations": 1,
        "chat_sessions": 1,
        "chat_messages": 6,
        "chat_shares": 1,
        "message_feedback": 1,
        "chat_imports": 1,
        "imported_sessions": 1,
        "user_usage_days": 1,
        "user_usage_weeks": 1,
        "user_usage_quarters": 2,
        "quota_reservations": 1,
        "search_owners": 1,
        "webhook_deliveries": 5,
        "stream_buffers": 0,
        "cached_answers": 0,
    }
    assert {item["store"] for item in receipt["removed"]} == {"postgresql", "redis"}
    assert receipt["expiring"] == []
    assert counts(receipt, "kept") == {
        "llm_calls": calls,
        "audit_log": sql.value(
            "SELECT count(*) FROM audit_log WHERE actor_id = %(id)s OR target_id = %(id)s", {"id": eve.id}
        ),
    }
    assert all(item["reason"] for item in receipt["kept"])
    _, audit = receipt["kept"]
    assert "the event with which webhooks report the erasure" in audit["reason"]  # the other record with the id
    assert sql.value("SELECT abs(extract(epoch FROM now() - %s::timestamptz)) < 60", [receipt["erased_at"]])


def test_ledger_keeps_amounts_without_account(auth_client: TestClient, eve: User, sql: Sql) -> None:
    figures = (
        "SELECT count(*), sum(prompt_tokens) AS prompt, sum(completion_tokens) AS completion, sum(latency_ms) AS ms,"
        " count(DISTINCT turn_id) AS turns, count(*) FILTER (WHERE status = 'error') AS errors, min(created_at),"
        " max(created_at) FROM llm_calls"
    )
    before = sql.rows(figures)
    assert before[0]["count"] >= 5
    erase(auth_client, eve)
    assert sql.rows(figures) == before
    assert sql.value("SELECT count(*) FROM llm_calls WHERE user_id IS NOT NULL OR session_id IS NOT NULL") == 0


def test_other_accounts_are_unchanged(auth_client: TestClient, chat: Chat, eve: User, sql: Sql) -> None:
    session = chat.open(title="Ada's")
    chat.ask(session, "Hi")
    auth_client.post(f"{AUTH}/api-keys", json={"name": "k", "scopes": ["chat:read"]}, headers=chat.user.headers)
    sql.do("INSERT INTO outgoing_mails (kind, recipient) VALUES ('reset_password', %s)", [chat.user.email])
    queries = [
        f"SELECT * FROM {table} WHERE user_id = (SELECT id FROM users WHERE username = 'ada') ORDER BY id"  # noqa: S608
        for table in ("auth_sessions", "api_keys", "chat_sessions", "llm_calls")
    ] + ["SELECT * FROM users WHERE username = 'ada'", "SELECT * FROM outgoing_mails WHERE recipient LIKE 'ada%%'"]
    before = [sql.rows(query) for query in queries]
    assert all(before)
    erase(auth_client, eve)
    assert [sql.rows(query) for query in queries] == before
    assert len(chat.request("GET", f"/sessions/{session}").json()["messages"]) == 2


def test_tokens_and_keys_of_erased_account_are_refused_on_all_services(
    auth_client: TestClient, chat_client: TestClient, admin_client: TestClient, admin: User, eve: User, sql: Sql
) -> None:
    sql.do("UPDATE users SET role = 'admin' WHERE uuid = %s", [eve.id])
    key = auth_client.post(f"{AUTH}/api-keys", json={"name": "k", "scopes": ["chat:read"]}, headers=eve.headers).json()[
        "key"
    ]
    requests = [
        (auth_client, f"{AUTH}/me", eve),
        (chat_client, f"{CHAT}/sessions", eve),
        (chat_client, f"{CHAT}/sessions", replace(eve, access_token=key)),
        (admin_client, f"{ADMIN}/overview", eve),
    ]
    assert {client.get(path, headers=user.headers).status_code for client, path, user in requests} == {200}
    assert erase(auth_client, eve).status_code == 200
    for client, path, user in requests:
        assert_problem(client.get(path, headers=user.headers), 401, "unauthorized")
    refresh = auth_client.post(f"{AUTH}/refresh", json={"refresh_token": eve.refresh_token})
    assert_problem(refresh, 401, "invalid_refresh_token")
    assert_problem(login(auth_client, eve.username), 401, "invalid_credentials")


def test_username_and_address_can_be_registered_again(auth_client: TestClient, ada: User) -> None:
    erase(auth_client, ada)
    assert register(auth_client, "ada").status_code == 201


def test_wrong_password_erases_nothing_and_is_audited(auth_client: TestClient, ada: User, sql: Sql) -> None:
    assert_problem(erase(auth_client, ada, "a wrong password"), 400, "wrong_password")
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).status_code == 200
    (entry,) = sql.rows("SELECT * FROM audit_log WHERE outcome = 'refused'")
    assert (entry["action"], str(entry["actor_id"])) == ("password.confirmation", ada.id)


@pytest.mark.parametrize("body", [{}, {"password": ""}, {"password": PASSWORD, "id": 1}, {"password": None}, []])
def test_missing_password_erases_nothing(auth_client: TestClient, ada: User, body: object) -> None:
    response = auth_client.request("DELETE", f"{AUTH}/me", json=body, headers=ada.headers)
    assert_problem(response, 422, "validation_error")
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).status_code == 200


def test_erasure_is_audited_with_public_id_and_counts(auth_client: TestClient, ada: User, sql: Sql) -> None:
    receipt = erase(auth_client, ada).json()
    (entry,) = sql.rows("SELECT * FROM audit_log WHERE action = 'account.erased'")
    assert (str(entry["actor_id"]), str(entry["target_id"]), entry["outcome"]) == (ada.id, ada.id, "done")
    assert entry["details"]["removed"].items() <= counts(receipt).items()


def test_last_admin_cannot_be_erased(auth_client: TestClient, admin: User, ada: User, sql: Sql) -> None:
    sql.do(
        "INSERT INTO users (uuid, email, username, password_hash, role, is_active)"
        " VALUES (gen_random_uuid(), 'x@example.com', 'disabled', '', 'admin', false)"
    )
    assert_problem(erase(auth_client, admin), 409, "last_admin")
    assert auth_client.get(f"{AUTH}/me", headers=admin.headers).status_code == 200
    (entry,) = sql.rows("SELECT * FROM audit_log WHERE action = 'account.erased'")
    assert (entry["outcome"], entry["details"]) == ("refused", {"reason": "last_admin", "count": 1})
    refusals = "SELECT count(*) FROM login_throttles WHERE key = %s"
    assert sql.value(refusals, [f"refused:account.erased:{admin.id}"]) == 1
    sql.do("UPDATE users SET role = 'admin' WHERE username = 'ada'")
    assert erase(auth_client, admin).status_code == 200
    assert sql.value(refusals, [f"refused:account.erased:{admin.id}"]) == 0
    assert_problem(erase(auth_client, ada), 409, "last_admin")


def test_erasure_deletes_copies_in_redis(auth_client: TestClient, chat: Chat, others_chat: Chat, redis: Redis) -> None:
    mine, others = (person.ask(person.open(), "Hi")["ai_response"]["id"] for person in (chat, others_chat))
    redis.xadd(f"turn:{mine}", {"text": CANARY})
    redis.xadd(f"turn:{others}", {"text": "stays"})
    for user in (chat.user, others_chat.user):
        names = [f"cache:{user.id}:{number}" for number in range(1200)]
        redis.mset(dict.fromkeys(names, CANARY))
        redis.zadd(f"user:{user.id}:cache", dict.fromkeys(names, 1))
    receipt = erase(auth_client, chat.user).json()
    assert (counts(receipt)["stream_buffers"], counts(receipt)["cached_answers"]) == (1, 1200)
    # Except for request counters, which expire within a minute.
    remaining = {name.decode() for name in redis.scan_iter() if not name.startswith(b"limits:")}
    assert f"turn:{others}" in remaining
    # And except for the markers of the erased account and answer, which prevent new copies.
    markers = {f"user:{chat.user.id}:deleted", f"turn:{mine}:deleted"}
    assert {name for name in remaining if mine in name or chat.user.id in name} == markers
    assert len(remaining) == 1204
    assert all(0 < redis.ttl(marker) <= 3 * 3600 for marker in markers)


def test_erasure_without_redis_reports_expiring_copies(settings: Settings, auth_client: TestClient, ada: User) -> None:
    without_redis = settings.model_copy(update={"REDIS_URL": "redis://127.0.0.1:9"})
    with TestClient(auth_main.create(without_redis)) as client:
        response = erase(client, ada)
    assert response.status_code == 200
    receipt = response.json()
    assert {item["store"] for item in receipt["removed"]} == {"postgresql"}
    assert [(item["store"], item["what"]) for item in receipt["expiring"]] == [
        ("redis", "stream_buffers"),
        ("redis", "cached_answers"),
    ]
    assert_problem(auth_client.get(f"{AUTH}/me", headers=ada.headers), 401, "unauthorized")
