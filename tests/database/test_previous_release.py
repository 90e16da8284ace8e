"""Rolling upgrade: statements of the previous release work on the migrated schema."""

from collections.abc import Iterator

import pytest
from alembic import command

from app.database import migrations
from tests.fixtures.database import Sql

# Without most of the counters, which are all handled in the same way.
ROLL_UP = """
WITH batch AS (SELECT call_id FROM usage_pending ORDER BY call_id LIMIT 1000 FOR UPDATE SKIP LOCKED),
taken AS (DELETE FROM usage_pending WHERE call_id IN (SELECT call_id FROM batch) RETURNING call_id),
calls AS (SELECT llm_calls.* FROM llm_calls JOIN taken ON llm_calls.id = taken.call_id),
hours AS (
    INSERT INTO usage_hours (hour, model, purpose, calls, cost_usd)
    SELECT date_trunc('hour', created_at, 'UTC') AS hour, model_requested AS model, purpose, count(*), sum(cost_usd)
    FROM calls GROUP BY hour, model, purpose ORDER BY hour, model, purpose
    ON CONFLICT (hour, model, purpose) DO UPDATE
    SET calls = usage_hours.calls + excluded.calls, cost_usd = usage_hours.cost_usd + excluded.cost_usd
),
owners AS (SELECT id FROM users WHERE id IN (SELECT user_id FROM calls) ORDER BY id FOR KEY SHARE),
user_hours AS (
    INSERT INTO user_usage_hours (user_id, hour, model, purpose, calls, cost_usd)
    SELECT user_id, date_trunc('hour', created_at, 'UTC') AS hour, model_requested AS model, purpose, count(*),
        sum(cost_usd)
    FROM calls JOIN owners ON owners.id = calls.user_id
    GROUP BY user_id, hour, model, purpose ORDER BY user_id, hour, model, purpose
    ON CONFLICT (user_id, hour, model, purpose) DO UPDATE
    SET calls = user_usage_hours.calls + excluded.calls, cost_usd = user_usage_hours.cost_usd + excluded.cost_usd
)
SELECT count(call_id) AS count FROM taken
"""
READ = """
SELECT sum(calls) AS calls, sum(cost_usd)::float AS cost FROM (
    SELECT hour, calls, cost_usd FROM {table}
    UNION ALL SELECT date_trunc('hour', created_at, 'UTC') AS hour, count(*), sum(cost_usd)
    FROM llm_calls JOIN usage_pending ON call_id = id GROUP BY hour
) AS usage WHERE hour >= '2026-11-01 10:00+00'
"""
APPEND = """
INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, status, latency_ms, cost_usd, created_at)
SELECT gen_random_uuid(), 1, (SELECT id FROM users), 'm', 'ok', 1, 0.5, '2026-11-01 10:20+00' FROM generate_series(1, 3)
"""
ADA = "INSERT INTO users (uuid, email, username, password_hash) VALUES (gen_random_uuid(), 'a', 'a', '')"


@pytest.fixture
def sql_before(empty_database_url: str) -> Iterator[Sql]:
    """A database with the schema of revision 0008, and one connection that stays open."""
    command.upgrade(migrations.alembic_config(empty_database_url), "0008")
    sql = Sql(empty_database_url)
    yield sql
    sql.close()


def test_the_previous_release_can_read_and_write_rollups_after_the_upgrade(
    empty_database_url: str, sql_before: Sql
) -> None:
    sql = sql_before
    sql.do(ADA)
    sql.do(APPEND)
    for name, statement in (("roll_up", ROLL_UP), ("read", READ.format(table="user_usage_hours"))):
        sql.do(f"PREPARE {name} AS {statement}")  # the driver keeps its prepared statements during the migration
    assert sql.rows("EXECUTE roll_up") == [{"count": 3}]
    migrations.upgrade(empty_database_url)
    assert sql.rows("EXECUTE read") == [{"calls": 3, "cost": 1.5}]
    sql.do(APPEND)
    assert sql.rows("EXECUTE read") == [{"calls": 6, "cost": 3.0}]
    assert sql.rows("EXECUTE roll_up") == [{"count": 3}]
    for table in ("usage_hours", "user_usage_hours"):
        assert sql.rows(READ.format(table=table)) == [{"calls": 6, "cost": 3.0}]
    sums = "SELECT to_char(quarter, 'HH24:MI') AS at, calls FROM user_usage_quarters"
    assert sql.rows(sums) == [{"at": "10:00", "calls": 6}]
    sql.do("UPDATE llm_calls SET user_id = NULL, session_id = NULL")
    sql.do("DELETE FROM users")
    assert sql.value("SELECT count(*) FROM user_usage_hours") == 0
    command.downgrade(migrations.alembic_config(empty_database_url), "0008")
    assert sql.rows(READ.format(table="usage_hours")) == [{"calls": 6, "cost": 3.0}]
