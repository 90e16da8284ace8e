"""Export of all data of an account."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from app.auth.privacy.export import ExportService
from app.core.exceptions import UnauthorizedError
from app.database import models
from app.database.connection import Database
from app.database.repositories.accounts import export
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.accounts.unexported_columns import EXCLUDED_COLUMNS
from app.database.repositories.audit.audit_log import RequestOrigin
from app.services import login_check
from app.services.limits.concurrency import ConcurrencyLimiter
from tests.auth.conftest import CANARY, insert_conversations
from tests.fixtures.database import Sql, locked
from tests.fixtures.services import AUTH, Chat, User, assert_problem
from tests.support.provider import Provider, answers

NO_ORIGIN = RequestOrigin(ip=None, user_agent=None, request_id=None)
LIMITER = ConcurrencyLimiter(1, code="test", detail="test", retry_after=1)


def exported(client: TestClient, user: User) -> dict[str, Any]:
    response = client.get(f"{AUTH}/me/export", headers=user.headers)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_every_column_is_exported_or_left_out_for_a_reason() -> None:
    sections = [export.ACCOUNT, export.SESSIONS, export.messages_section(1), *export.SECTIONS]
    exported_columns = {f"{section.table}.{column}" for section in sections for column in section.columns}
    columns = {
        f"{table.name}.{column.name}" for table in models.User.metadata.sorted_tables for column in table.columns
    }

    def patterns(column: str) -> set[str]:
        table, _, name = column.partition(".")
        return {column, f"*.{name}", f"{table}.*"} & set(EXCLUDED_COLUMNS)

    left_out = {column for column in columns if patterns(column)}
    assert columns == exported_columns | left_out, "add the column to a section or to EXCLUDED_COLUMNS"
    assert exported_columns & left_out == set()
    assert set().union(*map(patterns, columns)) == set(EXCLUDED_COLUMNS)


def test_export_is_a_json_attachment(auth_client: TestClient, ada: User) -> None:
    response = auth_client.get(f"{AUTH}/me/export", headers=ada.headers)
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Content-Disposition"] == 'attachment; filename="account.json"'
    assert response.headers["Cache-Control"] == "no-store"
    assert set(response.json()) == {"exported_at", "account", "chat_sessions"} | {
        section.table for section in export.SECTIONS
    }


def test_export_contains_all_data_of_account(auth_client: TestClient, eve: User, sql: Sql) -> None:
    document = exported(auth_client, eve)
    me = auth_client.get(f"{AUTH}/me", headers=eve.headers).json()
    # The account as it is stored; the response of the API also has the defaults of preferences that are not set.
    assert document["account"]["preferences"] == {CANARY: CANARY, "theme": "dark"}
    assert document["account"]["preferences"].items() <= me.pop("preferences").items()
    assert me.items() <= document["account"].items()
    (session,) = document["chat_sessions"]
    assert (session["title"], session["metadata"]) == (f"{CANARY} title", {CANARY: CANARY})
    assert (session["title_source"], session["tags"]) == ("user", [f"{CANARY} tag"])
    stored = sql.rows("SELECT uuid::text AS id, content, status FROM chat_messages ORDER BY seq")
    assert [{name: message[name] for name in stored[0]} for message in session["messages"]] == stored
    assert [message["parent_id"] for message in session["messages"]][1::2] == [row["id"] for row in stored[::2]]
    for table in ("auth_sessions", "api_keys", "one_time_tokens", "idempotency_keys", "llm_calls", "audit_log"):
        assert len(document[table]) == sql.value(f"SELECT count(*) FROM {table}") > 0, table  # noqa: S608 - our own
    assert f"{CANARY} answer" in document["idempotency_keys"][0]["response"]
    (feedback,) = document["message_feedback"]
    assert (feedback["rating"], feedback["comment"]) == ("up", f"{CANARY} comment")
    assert feedback["message_id"] == session["messages"][1]["id"]
    (share,) = document["chat_shares"]
    assert (share["session_id"], share["title"]) == (session["id"], f"{CANARY} title")
    assert [message["content"] for message in share["messages"]] == [f"{CANARY} question", f"{CANARY} answer"]
    (mail,) = document["outgoing_mails"]
    assert mail["recipient"].lower() == eve.email
    (invitation,) = document["invitations"]
    assert (invitation["email"].lower(), invitation["full_name"]) == (eve.email, f"{CANARY} invited")


def test_export_contains_no_secret(auth_client: TestClient, eve: User, sql: Sql) -> None:
    text = json.dumps(exported(auth_client, eve))
    for table, column in (
        ("users", "password_hash"),
        ("auth_sessions", "encode(token_hash, 'hex')"),
        ("api_keys", "encode(token_hash, 'hex')"),
        ("one_time_tokens", "encode(token_hash, 'hex')"),
    ):
        (secret, *_) = sql.rows(f"SELECT {column} AS secret FROM {table}")  # noqa: S608 - our own
        assert secret["secret"] not in text
    assert "hash" not in text


def test_export_contains_no_data_of_other_accounts(
    auth_client: TestClient, eve: User, chat: Chat, admin: User, provider: Provider
) -> None:
    provider.always(answers("Hello."))
    chat.ask(chat.open(), "Hi")
    auth_client.put(f"{AUTH}/admin/users/{chat.user.id}", json={"full_name": "Ada"}, headers=admin.headers)
    document = exported(auth_client, chat.user)
    assert CANARY not in json.dumps(document)
    assert [len(document[name]) for name in ("chat_sessions", "auth_sessions", "llm_calls", "outgoing_mails")] == [
        1,
        1,
        1,
        0,
    ]
    changed = next(entry for entry in document["audit_log"] if entry["action"] == "user.updated")
    assert (changed["actor_id"], changed["ip"], changed["request_id"]) == (admin.id, None, None)
    assert next(entry for entry in document["audit_log"] if entry["action"] == "login.opened")["request_id"]


def test_batches_of_long_lists_have_no_gaps(
    auth_client: TestClient, ada: User, bob: User, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in (bob, ada, bob):
        insert_conversations(sql, user, sessions=1, messages=20)
        insert_conversations(sql, user, sessions=6, messages=3)
    complete = exported(auth_client, ada)
    messages_section = export.messages_section
    monkeypatch.setattr(export, "SESSIONS", replace(export.SESSIONS, batch=2))
    monkeypatch.setattr(export, "SECTIONS", tuple(replace(section, batch=3) for section in export.SECTIONS))
    monkeypatch.setattr(export, "messages_section", lambda session_id: replace(messages_section(session_id), batch=5))
    batched = exported(auth_client, ada)
    assert [len(session["messages"]) for session in batched["chat_sessions"]] == [20, 3, 3, 3, 3, 3, 3]
    assert len(batched["llm_calls"]) == 10 + 6
    assert batched["chat_sessions"] == complete["chat_sessions"]
    assert batched["llm_calls"] == complete["llm_calls"]
    assert batched["audit_log"][:-1] == complete["audit_log"]


def test_export_is_audited(auth_client: TestClient, ada: User, sql: Sql) -> None:
    exported(auth_client, ada)
    (entry,) = sql.rows("SELECT * FROM audit_log WHERE action = 'account.exported'")
    assert (str(entry["actor_id"]), str(entry["target_id"]), entry["details"]) == (ada.id, ada.id, {})


@pytest.fixture
async def chunks(pool: Database, ada: User, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[bytes]:
    """Chunks of Ada's export, with a check of her login before each batch."""
    monkeypatch.setattr(login_check, "_INTERVAL", 0.0)
    insert_conversations(sql, ada, sessions=3, messages=250)
    (login,) = sql.rows("SELECT uuid, user_id FROM auth_sessions")
    principal = Principal(
        id=login["user_id"], uuid=UUID(ada.id), role="user", is_verified=False, session_uuid=login["uuid"]
    )
    return await ExportService(pool, LIMITER).start(principal, NO_ORIGIN)


async def test_no_connection_is_held_while_client_reads(chunks: AsyncIterator[bytes], pool: Database) -> None:
    document = b""
    count = 0
    async for piece in chunks:
        assert pool.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # of the pool that it is
        document += piece
        count += 1
    assert count > 3 * 3
    assert len(json.loads(document)["chat_sessions"]) == 3


async def test_export_waits_while_the_database_is_overloaded(
    chunks: AsyncIterator[bytes], sql: Sql, database_url: str
) -> None:
    document = [await anext(chunks) for _ in range(4)]
    with locked(database_url, "chat_messages"):
        reading = asyncio.create_task(join_chunks(chunks, document))
        await asyncio.to_thread(sql.wait_for_blocked)
        # Longer than a request waits for a lock.
        await asyncio.sleep(2)
    await reading
    assert len(json.loads(b"".join(document))["chat_sessions"]) == 3


async def test_exports_of_all_accounts_together_use_few_connections(
    pool: Database, ada: User, sql: Sql, database_url: str
) -> None:
    (login,) = sql.rows("SELECT uuid, user_id FROM auth_sessions")
    principal = Principal(
        id=login["user_id"], uuid=UUID(ada.id), role="user", is_verified=False, session_uuid=login["uuid"]
    )
    exports = [await ExportService(pool, LIMITER).start(principal, NO_ORIGIN) for _ in range(20)]
    with locked(database_url, "users"):
        reading = [asyncio.ensure_future(anext(chunks)) for chunks in exports]
        await asyncio.to_thread(sql.wait_for_blocked, 8)
        await asyncio.sleep(0.1)
        assert pool.pool_stats()["in_use"] == 8
    assert all(await asyncio.gather(*reading))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("UPDATE auth_sessions SET revoked_at = now(), revoked_reason = 'test'", id="logged out"),
        pytest.param("UPDATE users SET is_active = false", id="disabled"),
        pytest.param("DELETE FROM users", id="erased"),
    ],
)
async def test_export_is_cut_off_when_login_ends(chunks: AsyncIterator[bytes], sql: Sql, change: str) -> None:
    document = [await anext(chunks) for _ in range(4)]
    sql.do(change)
    with pytest.raises(UnauthorizedError):
        await join_chunks(chunks, document)
    assert len(document) <= 6  # cut off at the next batch
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(b"".join(document))


async def join_chunks(chunks: AsyncIterator[bytes], document: list[bytes]) -> None:
    async for piece in chunks:
        document.append(piece)  # noqa: PERF401 - what came before an exception is kept


async def test_export_is_cut_off_when_account_is_erased_at_its_end(
    chunks: AsyncIterator[bytes], sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_check, "_INTERVAL", 3600.0)
    await anext(chunks)
    sql.do("DELETE FROM users")
    with pytest.raises(UnauthorizedError):
        await join_chunks(chunks, [])


def test_exports_of_an_account_at_the_same_time_are_limited(
    auth_client: TestClient, ada: User, bob: User, sql: Sql
) -> None:
    limiter = auth_client.app_state["auth"].export.limiter
    ada_id = sql.value("SELECT id FROM users WHERE username = 'ada'")
    with limiter.slot(ada_id), limiter.slot(ada_id):
        response = auth_client.get(f"{AUTH}/me/export", headers=ada.headers)
        assert_problem(response, 429, "too_many_transfers")
        assert exported(auth_client, bob)
    assert exported(auth_client, ada)
    assert limiter.total == 0


async def test_export_is_cut_off_when_account_is_erased_before_its_begin(
    chunks: AsyncIterator[bytes], sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_check, "_INTERVAL", 3600.0)
    sql.do("DELETE FROM users")
    with pytest.raises(UnauthorizedError):
        await anext(chunks)


async def test_erased_account_cannot_be_exported(pool: Database, ada: User, sql: Sql) -> None:
    principal = Principal(id=0, uuid=UUID(ada.id), role="user", is_verified=False, session_uuid=None)
    with pytest.raises(UnauthorizedError):
        await ExportService(pool, LIMITER).start(principal, NO_ORIGIN)
    assert sql.value("SELECT count(*) FROM audit_log WHERE action = 'account.exported'") == 0
