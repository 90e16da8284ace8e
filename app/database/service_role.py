"""Role of the services in PostgreSQL, which owns nothing: its creation, and its rights after each migration."""

from typing import Final

from psycopg2.extensions import encrypt_password
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from app.config.database_url import parse_database_url
from app.core.exceptions import StartupError
from app.database.drivers import sync_engine
from app.database.models import User

_READ_AND_APPEND: Final = {"audit_log": "SELECT, INSERT", "llm_calls": "SELECT, INSERT"}
"""Tables that the services can neither change nor empty. Erasure uses the function `anonymise_ledger`."""
_ALL: Final = "SELECT, INSERT, UPDATE, DELETE"
_LOCK: Final = text("SELECT pg_advisory_xact_lock(7302196)")
"""Concurrent changes of the same rights would fail. The number is arbitrary."""
_VERSION_TABLE: Final = "alembic_version"
FUNCTIONS: Final = ("anonymise_ledger(bigint, integer)",)
"""Functions with the rights of the owner (SECURITY DEFINER) that the services may call."""


def grant_rights(owner_url: str, service_url: str) -> None:
    """Create the role in `service_url` if it does not exist, and grant the rights that the services need.

    Nothing is done if both URLs have the same role. It can be repeated, and removes rights that were granted before.

    Raises:
        StartupError: the role does not exist and the owner may not create roles, or the role has too many rights.

    """
    service = parse_database_url(service_url)
    role = service.user
    if not role or role == parse_database_url(owner_url).user:
        return
    engine = sync_engine(owner_url)
    try:
        with engine.begin() as connection:
            connection.execute(_LOCK)
            if not connection.scalar(text("SELECT count(*) FROM pg_roles WHERE rolname = :role"), {"role": role}):
                _create_role(connection, role, service.password)
            _refuse_powerful(connection, role)
            for statement in _grants(connection, _quoted(connection, role)):
                connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


def _create_role(connection: Connection, role: str, password: str | None) -> None:
    driver_connection = connection.connection.driver_connection
    # Encrypted here, so that neither the server nor its log sees the password.
    secret = encrypt_password(password, role, scope=driver_connection, algorithm="scram-sha-256") if password else None
    clause = f" PASSWORD '{secret}'" if secret else ""
    try:
        connection.exec_driver_sql(f"CREATE ROLE {_quoted(connection, role)} LOGIN{clause}")
    except ProgrammingError:
        raise StartupError(
            f"the role {role} of DATABASE_URL does not exist, and the role of MIGRATION_DATABASE_URL may not create it"
        ) from None


def _refuse_powerful(connection: Connection, role: str) -> None:
    query = text(
        "SELECT rolsuper OR rolcreaterole"
        " OR EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid AND relkind = 'r'"
        " AND relnamespace = current_schema()::regnamespace) OR pg_has_role(rolname, current_user, 'MEMBER')"
        " FROM pg_roles WHERE rolname = :role"
    )
    if connection.scalar(query, {"role": role}):
        raise StartupError(
            f"the role {role} of DATABASE_URL is a superuser, owns tables or may become their owner: use another one"
        )


def _grants(connection: Connection, role: str) -> list[str]:
    schema = _quoted(connection, str(connection.scalar(text("SELECT current_schema()"))))
    tables = {name: _READ_AND_APPEND.get(name, _ALL) for name in User.metadata.tables} | {_VERSION_TABLE: "SELECT"}
    return [
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {role}",
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}",
        *(f"GRANT {rights} ON {schema}.{name} TO {role}" for name, rights in tables.items()),
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        *(f"GRANT EXECUTE ON FUNCTION {schema}.{function} TO {role}" for function in FUNCTIONS),
    ]


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
