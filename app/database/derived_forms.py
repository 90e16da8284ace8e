"""Canonical and folded forms of stored addresses and names, for rows that were written without them.

Rows have no forms if the previous release wrote them and they are not ASCII, or if an account collides with another
one. Statements of SQLAlchemy Core on psycopg2, because migrations run them too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from app.core.identity import canonical_email, canonical_username
from app.core.text import fold
from app.database.driver_errors import translate_driver_errors
from app.database.drivers import sync_engine

_BATCH_SIZE = 1000
_MAX_ATTEMPTS = 5
"""Attempts to store a batch while accounts are registered concurrently."""

_FIND_USERS = text("""
    SELECT id, email, username, full_name FROM users
    WHERE id > :after AND (email_canonical IS NULL OR username_canonical IS NULL OR email_folded IS NULL
        OR (full_name IS NOT NULL AND full_name_folded IS NULL))
    ORDER BY id LIMIT :limit
""")
# Not rows that have been changed since they were read. An account keeps a form that it has.
_STORE_USERS = text("""
    UPDATE users
    SET email_canonical = coalesce(users.email_canonical, CASE WHEN NOT EXISTS (
            SELECT FROM users AS other WHERE other.email_canonical = new.email_canonical
        ) THEN new.email_canonical END),
        username_canonical = coalesce(users.username_canonical, CASE WHEN NOT EXISTS (
            SELECT FROM users AS other WHERE other.username_canonical = new.username_canonical
        ) THEN new.username_canonical END),
        email_folded = new.email_folded,
        full_name_folded = new.full_name_folded
    FROM unnest(
        CAST(:ids AS bigint[]), CAST(:emails AS text[]), CAST(:usernames AS text[]), CAST(:full_names AS text[]),
        CAST(:emails_canonical AS text[]), CAST(:usernames_canonical AS text[]), CAST(:emails_folded AS text[]),
        CAST(:full_names_folded AS text[])
    ) AS new (
        id, email, username, full_name, email_canonical, username_canonical, email_folded, full_name_folded
    )
    WHERE users.id = new.id AND users.email = new.email AND users.username = new.username
        AND users.full_name IS NOT DISTINCT FROM new.full_name
""")
_FIND_INVITATIONS = text("SELECT id, email FROM invitations WHERE email_canonical IS NULL ORDER BY id")
_STORE_INVITATION = text("""
    UPDATE invitations SET email_canonical = :canonical
    WHERE id = :id AND email = :email
        AND NOT EXISTS (SELECT FROM invitations AS other WHERE other.email_canonical = :canonical)
""")
_FIND_MAILS = text("SELECT id, recipient FROM outgoing_mails WHERE recipient_canonical IS NULL")
_STORE_MAIL = text("UPDATE outgoing_mails SET recipient_canonical = :canonical WHERE id = :id")
_FIND_COLLISIONS = text("""
    SELECT uuid, email, username, created_at, email_canonical, username_canonical FROM users
    WHERE email_canonical IS NULL OR username_canonical IS NULL ORDER BY id
""")


@dataclass(frozen=True, slots=True)
class Collision:
    """An account whose address or user name has the same canonical form as that of another account.

    It is found by exactly the stored spelling; the other account by every other one.
    """

    account: UUID
    field: Literal["email", "username"]
    value: str
    other: UUID | None
    """The other account. None: it has been erased since."""

    def __str__(self) -> str:
        """Return a line for logs, without personal data."""
        return f"{self.field} of account {self.account} has the same canonical form as that of account {self.other}"


def fill(connection: Connection) -> None:
    """Determine missing forms of all rows. Each statement is a transaction; it may be interrupted and run again."""
    after = 0
    while rows := connection.execute(_FIND_USERS, {"after": after, "limit": _BATCH_SIZE}).all():
        _store_users(connection, rows)
        after = rows[-1].id
    for row in connection.execute(_FIND_INVITATIONS).all():
        values = {"id": row.id, "email": row.email, "canonical": canonical_email(row.email)}
        _retry_conflicts(connection, _STORE_INVITATION, values)
    for row in connection.execute(_FIND_MAILS).all():
        connection.execute(_STORE_MAIL, {"id": row.id, "canonical": canonical_email(row.recipient)})


def fill_database(database_url: str) -> list[Collision]:
    """Determine missing forms in a database, and return the accounts that collide with others.

    Raises:
        DatabaseUnavailableError: PostgreSQL is unavailable.

    """
    with translate_driver_errors():
        engine = sync_engine(database_url)
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                fill(connection)
                return list(find_collisions(connection))
        finally:
            engine.dispose()


def find_collisions(connection: Connection) -> Iterator[Collision]:
    """Yield the accounts that collide with others, oldest first."""
    for row in connection.execute(_FIND_COLLISIONS).all():
        if row.email_canonical is None:
            other = _find_other(connection, "email_canonical", canonical_email(row.email))
            yield Collision(row.uuid, "email", row.email, other)
        if row.username_canonical is None:
            other = _find_other(connection, "username_canonical", canonical_username(row.username))
            yield Collision(row.uuid, "username", row.username, other)


def _find_other(connection: Connection, column: str, canonical: str) -> UUID | None:
    found: UUID | None = connection.scalar(
        text(f"SELECT uuid FROM users WHERE {column} = :canonical"),  # noqa: S608 - a column of this module
        {"canonical": canonical},
    )
    return found


def _store_users(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    emails = _first_of_each([canonical_email(row.email) for row in rows])
    usernames = _first_of_each([canonical_username(row.username) for row in rows])
    values = {
        "ids": [row.id for row in rows],
        "emails": [row.email for row in rows],
        "usernames": [row.username for row in rows],
        "full_names": [row.full_name for row in rows],
        "emails_canonical": emails,
        "usernames_canonical": usernames,
        "emails_folded": [fold(row.email) for row in rows],
        "full_names_folded": [None if row.full_name is None else fold(row.full_name) for row in rows],
    }
    _retry_conflicts(connection, _STORE_USERS, values)


def _first_of_each(forms: Sequence[str]) -> list[str | None]:
    """Return the forms, without those that occurred before."""
    seen: set[str] = set()
    return [None if form in seen or seen.add(form) else form for form in forms]  # type: ignore[func-returns-value]


def _retry_conflicts(connection: Connection, statement: Any, values: Mapping[str, Any]) -> None:  # noqa: ANN401 - text
    """Execute a statement again if a concurrent registration has taken a form after the statement looked for it."""
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        try:
            connection.execute(statement, values)
        except IntegrityError:
            if attempt == _MAX_ATTEMPTS:
                raise
        else:
            return
