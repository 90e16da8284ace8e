"""The audit log is append-only."""

import re
from uuid import uuid4

import pytest
from alembic import command
from psycopg2.errors import InsufficientPrivilege

from app.config import Settings
from app.database import migrations
from app.database.connection import Database
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from local.paths import PROJECT
from tests.fixtures.database import Sql

NO_ORIGIN = RequestOrigin(ip=None, user_agent=None, request_id=None)
CHANGES = {
    "update": "UPDATE audit_log SET action = 'other'",
    "delete": "DELETE FROM audit_log",
    "truncate": "TRUNCATE audit_log",
    "upsert": "INSERT INTO audit_log (id, action, outcome) OVERRIDING SYSTEM VALUE VALUES (1, 'other', 'done')"
    " ON CONFLICT (id) DO UPDATE SET action = 'other'",
}


@pytest.fixture
def log(sql: Sql) -> Sql:
    """The database with one audit entry."""
    sql.do("INSERT INTO audit_log (action, outcome) VALUES ('login.failed', 'refused')")
    return sql


def assert_refused(sql: Sql, statement: str) -> str:
    """Return the error message of a refused statement."""
    with pytest.raises(InsufficientPrivilege) as refused:
        sql.do(statement)
    assert refused.value.pgcode == "42501"
    assert sql.rows("SELECT action FROM audit_log") == [{"action": "login.failed"}]
    return str(refused.value)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_database_role_lacks_privileges_to_change_entries(log: Sql, change: str) -> None:
    if log.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        pytest.skip("a superuser has all privileges, so only the trigger protects the table")
    assert "permission denied for table audit_log" in assert_refused(log, change)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_trigger_refuses_changes_despite_privileges(log: Sql, change: str) -> None:
    log.do("GRANT UPDATE, DELETE, TRUNCATE ON audit_log TO CURRENT_USER")
    try:
        assert "audit_log is append-only" in assert_refused(log, change)
    finally:
        log.do("REVOKE UPDATE, DELETE, TRUNCATE ON audit_log FROM CURRENT_USER")


def test_the_documented_archiving_removes_old_entries_and_restores_the_protection(log: Sql) -> None:
    log.do("INSERT INTO audit_log (action, outcome, created_at) VALUES ('login.opened', 'done', '2025-06-01')")
    text = (PROJECT / "docs" / "how-to" / "audit-log.md").read_text()
    steps = re.findall(r"```sql\n(.*?)```", text.partition("**Point of no return:**")[2], re.DOTALL)
    assert len(steps) == 3
    for step in steps:
        log.do(step)
    assert log.rows("SELECT action FROM audit_log") == [{"action": "login.failed"}]
    assert log.value("SELECT tgenabled FROM pg_trigger WHERE tgname = 'audit_log_append_only'") == "A"
    assert not log.rows(
        "SELECT 1 FROM pg_class, aclexplode(relacl) WHERE relname = 'audit_log' AND privilege_type = 'DELETE'"
    )


def test_trigger_and_privileges_are_restored_by_downgrade_and_upgrade(empty_database_url: str) -> None:
    config = migrations.alembic_config(empty_database_url)
    command.upgrade(config, "head")
    command.downgrade(config, "base")
    sql = Sql(empty_database_url)
    try:
        assert sql.rows("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == []
        command.upgrade(config, "head")
        assert sql.rows("SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'audit_log'::regclass") == [
            {"tgname": "audit_log_append_only", "tgenabled": "A"}
        ]
        privileges = sql.rows(
            "SELECT acl.grantee::regrole::text AS role, array_agg(acl.privilege_type ORDER BY 1) AS privileges"
            " FROM pg_class, aclexplode(relacl) AS acl WHERE relname = 'audit_log' GROUP BY 1"
        )
        (owner,) = privileges
        assert owner["role"] == sql.value("SELECT current_user::text")
        assert {"INSERT", "SELECT"} <= set(owner["privileges"])
        assert {"UPDATE", "DELETE", "TRUNCATE"}.isdisjoint(owner["privileges"])
    finally:
        sql.close()


async def test_a_rolled_back_action_leaves_no_entry(settings: Settings, sql: Sql) -> None:
    database = Database.from_settings(settings, application_name="test")
    actor = uuid4()

    async def record_and_fail() -> None:
        async with database.transaction() as session:
            await audit_log.record(session, NewAuditEntry("user.updated", actor=actor), NO_ORIGIN)
            raise ZeroDivisionError

    try:
        with pytest.raises(ZeroDivisionError):
            await record_and_fail()
        assert sql.rows("SELECT * FROM audit_log") == []
        async with database.transaction() as session:
            await audit_log.record(session, NewAuditEntry("user.updated", actor=actor, details={"a": [1]}), NO_ORIGIN)
        (entry,) = sql.rows("SELECT actor_id, outcome, details FROM audit_log")
        assert entry == {"actor_id": actor, "outcome": "done", "details": {"a": [1]}}
    finally:
        await database.close()
