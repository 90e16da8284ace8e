"""Violated constraints are errors of the client; deadlocks are repeated."""

from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest
from asyncpg import DeadlockDetectedError, PostgresError, SerializationError
from sqlalchemy import literal, select, text
from sqlalchemy.exc import IntegrityError

from app.core.exceptions import AppError, ConflictError, DatabaseUnavailableError, NotFoundError, UnauthorizedError
from app.database import statements
from app.database.connection import Database
from app.database.constraint_errors import referred_tables, translated
from app.database.statements import Statement
from tests.fixtures.database import Sql


def test_every_foreign_key_of_the_database_is_translated(sql: Sql) -> None:
    rows = sql.rows(
        "SELECT conname, confrelid::regclass::text AS referred FROM pg_constraint"
        " WHERE contype = 'f' AND connamespace = current_schema()::regnamespace"
    )
    stored = {row["conname"]: row["referred"] for row in rows}
    assert len(stored) > 20
    assert referred_tables() == stored | {"chat_messages_place": "chat_messages"}


VIOLATIONS: dict[str, tuple[str, type[AppError]]] = {
    "missing account": (
        "INSERT INTO chat_sessions (uuid, user_id, title) VALUES (gen_random_uuid(), 0, 'x')",
        UnauthorizedError,
    ),
    "missing session": (
        (
            "INSERT INTO idempotency_keys (user_id, route, key, fingerprint, session_id, turn_id, expires_at)"
            " SELECT id, 'x', 'x', sha256('x'), 0, gen_random_uuid(), now() FROM users"
        ),
        NotFoundError,
    ),
    "missing message": (
        "INSERT INTO message_feedback (message_id, user_id, model, rating) SELECT 0, id, 'm', 'up' FROM users",
        NotFoundError,
    ),
    "second account": (
        (
            "INSERT INTO users (uuid, email, username, password_hash) SELECT gen_random_uuid(), upper(email), 'b', 'x'"
            " FROM users"
        ),
        ConflictError,
    ),
}


@pytest.fixture
def account(sql: Sql) -> None:
    sql.do(
        "INSERT INTO users (uuid, email, username, password_hash) VALUES (gen_random_uuid(), 'a@example.com', 'a', 'x')"
    )


@pytest.mark.parametrize(("statement", "expected"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
@pytest.mark.parametrize("use", ["transaction", "autocommit", "driver_connection"])
async def test_violation_is_translated(
    pool: Database, account: None, statement: str, expected: type[AppError], use: str
) -> None:
    with pytest.raises(expected) as raised:
        async with getattr(pool, use)() as connection:
            await connection.execute(statement if use == "driver_connection" else text(statement))
    assert "a@example.com" not in raised.value.detail.lower()
    assert pool.seconds_since_recovery() > 0


async def test_other_violations_are_faults(pool: Database, account: None) -> None:
    with pytest.raises(IntegrityError):
        async with pool.autocommit() as connection:
            await connection.execute(text("UPDATE users SET role = 'queen'"))
    assert translated(ValueError()) is None


class Rollbacks:
    """Connection of asyncpg whose statements fail several times."""

    def __init__(self, *errors: PostgresError, in_transaction: bool = False) -> None:
        self.fetch = AsyncMock(side_effect=[*errors, [{"one": 1}]])
        self.is_in_transaction = Mock(return_value=in_transaction)


_ONE = Statement(select(literal(1).label("one")))


async def fetch(connection: Rollbacks) -> Any:  # noqa: ANN401 - rows
    return await statements.fetch(cast("Any", connection), _ONE, {})


async def test_statement_is_repeated_after_deadlocks() -> None:
    connection = Rollbacks(DeadlockDetectedError("x"), SerializationError("x"))
    assert await fetch(connection) == [{"one": 1}]
    assert connection.fetch.await_count == 3
    connection = Rollbacks(*[DeadlockDetectedError("x")] * 5)
    with pytest.raises(DeadlockDetectedError):
        await fetch(connection)
    assert connection.fetch.await_count == 3


async def test_statement_in_a_transaction_is_not_repeated() -> None:
    connection = Rollbacks(DeadlockDetectedError("x"), in_transaction=True)
    with pytest.raises(DeadlockDetectedError):
        await fetch(connection)
    assert connection.fetch.await_count == 1


async def test_deadlock_is_503_and_no_outage(pool: Database, sql: Sql) -> None:
    with pytest.raises(DatabaseUnavailableError):
        async with pool.autocommit() as connection:
            await connection.execute(text("DO $$ BEGIN RAISE deadlock_detected; END $$"))
    assert pool.seconds_since_recovery() > 0
