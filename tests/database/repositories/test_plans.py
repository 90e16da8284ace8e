"""Statements whose cost does not grow with the rows of others: they read indexes, not whole tables."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from app.database.connection import Database
from app.database.repositories.accounts import attempt_counters
from app.database.repositories.turns import idempotency_keys
from app.database.repositories.turns.idempotency_keys import IdempotentRequest
from app.database.statements import Statement
from tests.fixtures.database import Sql

if TYPE_CHECKING:
    from sqlalchemy.sql.base import Executable

KEYS = ["account:1", "confirmation:1", "name:a", "name:b"]
CASES = {
    "counters of an account in all networks": (attempt_counters._REMOVE, {"p_keys": KEYS}, "login_throttles"),
    "counters of an attempt": (attempt_counters._REFUND, {"p_keys": KEYS, "p_limit": 10}, "login_throttles"),
    "key of a direct question": (
        idempotency_keys._RELEASE.core,
        {**idempotency_keys.key_parameters(IdempotentRequest(1, "x", "1", b"")), "p_turn_id": uuid4()},
        "idempotency_keys",
    ),
}


@pytest.fixture
def rows_of_others(sql: Sql) -> None:
    sql.do(
        "INSERT INTO login_throttles SELECT 'name:' || md5(i::text) || '@192.0.2.' || i, 1, now()"
        " FROM generate_series(1, 20000) AS i"
    )
    sql.do(
        "INSERT INTO users (uuid, email, username, password_hash) VALUES (gen_random_uuid(), 'a@example.com', 'a', 'x')"
    )
    sql.do(
        "INSERT INTO idempotency_keys (user_id, route, key, fingerprint, turn_id, lease_expires_at, expires_at)"
        " SELECT users.id, 'x', i::text, sha256('x'), gen_random_uuid(), now(), now()"
        " FROM users, generate_series(1, 20000) AS i"
    )
    sql.do("ANALYZE login_throttles, idempotency_keys")


@pytest.mark.usefixtures("rows_of_others")
@pytest.mark.parametrize(("executable", "parameters", "table"), CASES.values(), ids=CASES.keys())
async def test_statement_reads_an_index(
    pool: Database, executable: "Executable", parameters: dict[str, Any], table: str
) -> None:
    statement = Statement(executable)
    async with pool.driver_connection() as connection:
        rows = await connection.fetch(f"EXPLAIN {statement.sql}", *statement.arguments(parameters))
    plan = "\n".join(row["QUERY PLAN"] for row in rows)
    assert f"on {table}" in plan
    assert f"Seq Scan on {table}" not in plan
