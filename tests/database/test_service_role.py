"""Rights of the role of the services: it owns nothing, and can neither change nor empty audit log and ledger."""

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege
from psycopg2.sql import SQL, Identifier

from app.core.exceptions import StartupError
from app.database import migrations, models
from app.database.service_role import grant_rights
from tests.fixtures.database import Sql
from tests.support.waiting import wait_until

REFUSED = {
    "update of the audit log": "UPDATE audit_log SET action = 'x'",
    "update of one column": "UPDATE audit_log SET ip = NULL",
    "deletion from the audit log": "DELETE FROM audit_log",
    "truncation of the audit log": "TRUNCATE audit_log",
    "upsert into the audit log": "INSERT INTO audit_log (id, action, outcome) OVERRIDING SYSTEM VALUE"
    " SELECT id, action, outcome FROM audit_log ON CONFLICT (id) DO UPDATE SET action = 'x'",
    "update of the ledger": "UPDATE llm_calls SET cost_usd = 0",
    "anonymization of the ledger": "UPDATE llm_calls SET user_id = NULL, session_id = NULL",
    "deletion from the ledger": "DELETE FROM llm_calls",
    "truncation of the ledger": "TRUNCATE llm_calls CASCADE",
    "anonymization of an account that exists": "SELECT anonymise_ledger((SELECT max(id) FROM users), 10)",
    "replacement of that function": "CREATE OR REPLACE FUNCTION anonymise_ledger(account_id bigint, max_rows integer)"
    " RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "trigger": "ALTER TABLE audit_log DISABLE TRIGGER ALL",
    "removal of a trigger": "DROP TRIGGER audit_log_append_only ON audit_log",
    "new trigger": "CREATE TRIGGER t BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION llm_calls_queue()",
    "replication role": "SET session_replication_role = replica",
    "removal of a table": "DROP TABLE audit_log",
    "new table": "CREATE TABLE of_the_service (id integer)",
    "new column": "ALTER TABLE users ADD COLUMN x integer",
    "truncation of other tables": "TRUNCATE users CASCADE",
    "revision of the schema": "UPDATE alembic_version SET version_num = '0001'",
    "role of the owner": "SET ROLE chat",
    "sequence": "SELECT setval(pg_get_serial_sequence('audit_log', 'id'), 1)",
    "ownership": "ALTER TABLE audit_log OWNER TO CURRENT_USER",
}


@pytest.fixture
def service(sql: Sql, database_url: str, service_database_url: str) -> Iterator[Sql]:
    """Connection with the role of the services, to a database with rows."""
    if service_database_url == database_url:
        pytest.skip("the role of the tests may not create roles")
    sql.do(
        "INSERT INTO users (uuid, email, username, password_hash, role)"
        " VALUES (gen_random_uuid(), 'a@example.com', 'a', 'x', 'user');"
        "INSERT INTO audit_log (action, outcome) VALUES ('login.opened', 'done');"
        "INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, status, latency_ms)"
        " SELECT gen_random_uuid(), 1, id, 'm', 'ok', 9 FROM users"
    )
    connection = Sql(service_database_url)
    yield connection
    connection.close()


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_refused(service: Sql, sql: Sql, statement: str) -> None:
    before = rows_by_table(sql)
    # "permission denied", "must be owner", or the trigger of the table, which all have this code.
    with pytest.raises(InsufficientPrivilege):
        service.do(statement)
    assert rows_by_table(sql) == before


def rows_by_table(sql: Sql) -> dict[str, str]:
    """Return all rows by table, without those that a running service of another test updates every 10 seconds."""
    return {table: rows for table, rows in sql.everything().items() if table != "service_instances"}


def test_services_can_append_and_read(service: Sql) -> None:
    service.do("INSERT INTO audit_log (action, outcome) VALUES ('login.opened', 'done')")
    service.do(
        "INSERT INTO llm_calls (turn_id, attempt, model_requested, status, latency_ms)"
        " VALUES (gen_random_uuid(), 1, 'm', 'ok', 9)"
    )
    assert service.value("SELECT count(*) FROM audit_log") == 2
    assert service.value("SELECT count(*) FROM usage_pending") == 2


def test_ledger_of_an_erased_account_is_anonymised_in_batches(service: Sql, sql: Sql) -> None:
    (account,) = sql.rows("SELECT id FROM users")
    sql.do(
        "INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, status, latency_ms)"
        " SELECT gen_random_uuid(), 1, user_id, 'm', 'ok', 9 FROM llm_calls, generate_series(1, 4)"
    )
    service.do("DELETE FROM users")
    statement = f"SELECT anonymise_ledger({account['id']}, 3)"
    assert [service.value(statement) for _ in range(3)] == [3, 2, 0]
    assert sql.value("SELECT count(*) FROM llm_calls WHERE user_id IS NULL AND cost_usd IS NULL") == 5


def test_role_owns_nothing(service: Sql, sql: Sql) -> None:
    owned = "SELECT count(*) FROM pg_shdepend JOIN pg_roles ON refobjid = pg_roles.oid"
    assert sql.value(f"{owned} WHERE deptype = 'o' AND rolname = 'chat_service'") == 0
    rights = service.rows(
        "SELECT table_name, privilege_type FROM information_schema.role_table_grants WHERE grantee = CURRENT_USER"
    )
    by_table: dict[str, set[str]] = {}
    for row in rights:
        by_table.setdefault(row["table_name"], set()).add(row["privilege_type"])
    assert by_table.pop("alembic_version") == {"SELECT"}
    assert by_table.pop("audit_log") == by_table.pop("llm_calls") == {"SELECT", "INSERT"}
    assert set(by_table) == set(models.User.metadata.tables) - {"audit_log", "llm_calls"}
    assert set(map(frozenset, by_table.values())) == {frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})}


def url_of(role: str, owner_url: str, password: str | None = None) -> str:
    parts = urlsplit(owner_url)
    credentials = role if password is None else f"{role}:{password}"
    return urlunsplit(parts._replace(netloc=f"{credentials}@{parts.netloc.rpartition('@')[2]}"))


def test_rights_that_were_granted_before_are_removed(service: Sql, sql: Sql, database_url: str) -> None:
    sql.do("GRANT ALL ON audit_log, users TO chat_service")
    sql.do("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO chat_service")
    sql.do("GRANT CREATE ON SCHEMA public TO chat_service")
    grant_rights(database_url, url_of("chat_service", database_url))
    # Not by trying, because the trigger of the table refuses that, too.
    for right in (
        "has_table_privilege('audit_log', 'DELETE')",
        "has_table_privilege('users', 'TRUNCATE')",
        "has_sequence_privilege(pg_get_serial_sequence('audit_log', 'id'), 'UPDATE')",
        "has_schema_privilege('public', 'CREATE')",
    ):
        assert service.value(f"SELECT {right}") is False, right


def test_the_same_role_changes_nothing(sql: Sql, database_url: str) -> None:
    acl = "SELECT string_agg(relname || relacl::text, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r'"
    before = sql.value(acl)
    grant_rights(database_url, database_url)
    assert sql.value(acl) == before


def test_missing_role_that_the_owner_may_not_create(database_url: str) -> None:
    with pytest.raises(StartupError, match="the role nobody_knows of DATABASE_URL does not exist"):
        grant_rights(database_url, url_of("nobody_knows", database_url))


@pytest.fixture
def superuser(database_url: str) -> Iterator[Sql]:
    try:
        connection = Sql(url_of("postgres", database_url))
    except psycopg2.OperationalError:
        pytest.skip("needs a superuser")
    yield connection
    connection.close()


def test_role_is_created_with_its_password(empty_database_url: str, superuser: Sql) -> None:
    role = f"service_{uuid4().hex}"
    owner = url_of("postgres", empty_database_url)
    migrations.upgrade(owner)
    try:
        for _ in range(2):
            grant_rights(owner, url_of(role, empty_database_url, "s3cret"))
        stored = superuser.value("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role])
        assert stored.startswith("SCRAM-SHA-256$")
        login = Sql(url_of(role, empty_database_url, "s3cret"))
        assert login.value("SELECT count(*) FROM users") == 0
        login.close()
    finally:
        database = Sql(owner)
        for action in ("DROP OWNED BY {}", "DROP ROLE {}"):
            database.do(SQL(action).format(Identifier(role)).as_string(database._connection))
        database.close()
    # A role without this attribute cannot end the connections of a superuser when it drops the database.
    name = urlsplit(empty_database_url).path.strip("/")
    wait_until(lambda: not superuser.value("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [name]))


@pytest.mark.parametrize("power", ["SUPERUSER", "CREATEROLE", "IN ROLE chat"])
def test_powerful_role_is_refused(database_url: str, superuser: Sql, power: str) -> None:
    role = f"service_{uuid4().hex}"
    superuser.do(f"CREATE ROLE {role} LOGIN {power}")
    try:
        with pytest.raises(StartupError, match=f"the role {role} of DATABASE_URL is a superuser"):
            grant_rights(database_url, url_of(role, database_url))
    finally:
        superuser.do(f"DROP ROLE {role}")


def test_role_that_owns_a_table_is_refused(database_url: str, superuser: Sql) -> None:
    role = f"service_{uuid4().hex}"
    superuser.do(f"CREATE ROLE {role} LOGIN; CREATE TABLE owned (id integer); ALTER TABLE owned OWNER TO {role}")
    try:
        with pytest.raises(StartupError, match=f"the role {role} of DATABASE_URL is a superuser, owns tables"):
            grant_rights(database_url, url_of(role, database_url))
    finally:
        superuser.do(f"DROP TABLE owned; DROP ROLE {role}")
