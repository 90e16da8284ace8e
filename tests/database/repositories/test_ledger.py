"""Append-only ledger: rows can be added and identities removed; all other changes are rejected."""

from uuid import uuid4

import pytest
from alembic import command
from psycopg2.errors import InsufficientPrivilege

from app.database import migrations
from tests.fixtures.database import Sql

APPEND = (
    "INSERT INTO llm_calls (turn_id, attempt, user_id, session_id, model_requested, status, latency_ms, cost_usd)"
    " VALUES (%s, 1, 7, 8, 'm', 'ok', 9, 0.5)"
)
CHANGES = {
    "its cost": "UPDATE llm_calls SET cost_usd = 0",
    "its cost, with the identity": "UPDATE llm_calls SET cost_usd = 0, user_id = NULL, session_id = NULL",
    "another user": "UPDATE llm_calls SET user_id = 6, session_id = NULL",
    "half of the identity": "UPDATE llm_calls SET session_id = NULL",
    "delete": "DELETE FROM llm_calls",
    "truncate": "TRUNCATE llm_calls",
    "upsert": "INSERT INTO llm_calls (turn_id, attempt, model_requested, status, latency_ms)"
    " SELECT turn_id, 1, 'm', 'ok', 9 FROM llm_calls ON CONFLICT (turn_id, attempt) DO UPDATE SET cost_usd = 0",
}
OF_COLUMNS = {"another user", "half of the identity"}
"""Changes of columns that the role may update: only the trigger rejects them."""


@pytest.fixture
def ledger(sql: Sql) -> Sql:
    """Ledger with one call."""
    sql.do(APPEND, [uuid4()])
    return sql


def refusal(sql: Sql, statement: str) -> str:
    before = sql.rows("SELECT * FROM llm_calls")
    with pytest.raises(InsufficientPrivilege) as refused:
        sql.do(statement)
    assert sql.rows("SELECT * FROM llm_calls") == before
    return str(refused.value)


@pytest.mark.parametrize("change", sorted(CHANGES.keys() - OF_COLUMNS))
def test_the_database_role_has_no_privilege_to_change_a_row(ledger: Sql, change: str) -> None:
    if ledger.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        pytest.skip("a superuser has all privileges, so only the trigger rejects the change")
    assert "permission denied for table llm_calls" in refusal(ledger, CHANGES[change])


@pytest.mark.parametrize("change", CHANGES)
def test_triggers_reject_changes_even_with_the_privilege(ledger: Sql, change: str) -> None:
    ledger.do("GRANT UPDATE, DELETE, TRUNCATE ON llm_calls TO CURRENT_USER")
    try:
        assert "llm_calls is append-only" in refusal(ledger, CHANGES[change])
    finally:
        ledger.do("REVOKE UPDATE, DELETE, TRUNCATE ON llm_calls FROM CURRENT_USER")
        ledger.do("GRANT UPDATE (user_id, session_id) ON llm_calls TO CURRENT_USER")


def test_the_identity_can_be_removed(ledger: Sql) -> None:
    (before,) = ledger.rows("SELECT * FROM llm_calls")
    for _ in range(2):  # a second removal has no effect
        ledger.do("UPDATE llm_calls SET user_id = NULL, session_id = NULL")
        assert ledger.rows("SELECT * FROM llm_calls") == [before | {"user_id": None, "session_id": None}]


def test_rows_older_than_the_rollups_are_queued_by_the_migration(empty_database_url: str) -> None:
    config = migrations.alembic_config(empty_database_url)
    command.upgrade(config, "0005")
    sql = Sql(empty_database_url)
    try:
        sql.do(APPEND, [uuid4()])
        command.upgrade(config, "head")
        sql.do(APPEND, [uuid4()])
        assert sql.value("SELECT array_agg(call_id ORDER BY 1) FROM usage_pending") == [1, 2]
        command.downgrade(config, "0005")
        sql.do("DELETE FROM llm_calls")
    finally:
        sql.close()
