"""Deletion of expired rows."""

from datetime import timedelta

import pytest

from app.config import Settings
from app.database.connection import Database
from app.database.repositories.webhooks import delivery_queue
from app.worker import jobs
from app.worker.jobs import build_jobs
from tests.fixtures.database import Sql
from tests.support.fakes import turn_recovery
from tests.worker.abandoned_turns import INSERT_USER

# Insertions of rows that expired up to this many seconds ago.
EXPIRED_ROWS = {
    "idempotency keys": """
        INSERT INTO idempotency_keys (user_id, route, key, fingerprint, lease_expires_at, expires_at)
        SELECT %(user)s, 'r', i::text, sha256(''), now(), now() - i * interval '1 second'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
    "one-time tokens": """
        INSERT INTO one_time_tokens (user_id, purpose, token_hash, expires_at)
        SELECT %(user)s, 'verify_email', sha256(i::text::bytea), now() - i * interval '1 second'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
    "throttles": """
        INSERT INTO login_throttles (key, attempts, window_ends_at)
        SELECT i::text, 1, now() - interval '1 day' - i * interval '1 second'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
    "webhook deliveries": """
        INSERT INTO webhook_deliveries (event_id, endpoint_id, type, data, created_at)
        SELECT gen_random_uuid(), %(user)s, 'webhook.test', '{}',
               now() - interval '30 days' - i * interval '1 second'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
    "expired logins": """
        INSERT INTO auth_sessions (uuid, user_id, token_hash, expires_at)
        SELECT gen_random_uuid(), %(user)s, sha256(i::text::bytea),
               now() - interval '30 days' - i * interval '1 second'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
    "revoked logins": """
        INSERT INTO auth_sessions (uuid, user_id, token_hash, expires_at, revoked_at, revoked_reason)
        SELECT gen_random_uuid(), %(user)s, sha256(i::text::bytea), now() + interval '1 hour',
               now() - interval '30 days' - i * interval '1 second', 'logout'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
}


@pytest.mark.parametrize("kind", EXPIRED_ROWS)
async def test_expired_rows_are_purged_in_batches(
    pool: Database, sql: Sql, settings: Settings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(jobs, "_BATCH_SIZE", 2)
    rows = f"SELECT count(*) FROM {EXPIRED_ROWS[kind].split()[2]}"  # noqa: S608 - one of ours
    user = sql.value(INSERT_USER)
    sql.do(EXPIRED_ROWS[kind], {"user": user, "from": 1, "to": 5})
    sql.do(EXPIRED_ROWS[kind], {"user": user, "from": -3600, "to": -3598})
    (job,) = [
        job
        for job in build_jobs(settings, pool, turn_recovery(pool).load_published_text)
        if job.name.endswith(kind.rpartition(" ")[2])
    ]
    assert await job.run_once() == 5
    assert sql.value(rows) == 3
    assert await job.run_once() == 0


async def test_run_that_takes_too_long_ends_after_a_batch_and_the_next_one_goes_on(
    pool: Database, sql: Sql, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_BATCH_SIZE", 2)
    monkeypatch.setattr(jobs, "_RUN_SECONDS", 0)
    sql.do(EXPIRED_ROWS["webhook deliveries"], {"user": 1, "from": 1, "to": 5})
    (job,) = [
        job
        for job in build_jobs(settings, pool, turn_recovery(pool).load_published_text)
        if job.name == "purge webhook deliveries"
    ]
    assert [await job.run_once() for _ in range(4)] == [2, 2, 1, 0]


async def test_oldest_deliveries_are_deleted_first(pool: Database, sql: Sql) -> None:
    # Otherwise, PostgreSQL may read the table in its own order, and in each batch the space of those deleted before.
    sql.do(EXPIRED_ROWS["webhook deliveries"], {"user": 1, "from": 1, "to": 5})
    async with pool.autocommit() as connection:
        assert await delivery_queue.purge(age=timedelta(days=30)).delete_batch(connection, limit=2) == 2
    assert sql.value("SELECT max(extract(epoch FROM now() - created_at)) - 30 * 86400 FROM webhook_deliveries") < 4


async def test_deliveries_that_a_deletion_has_skipped_are_deleted_by_the_next_run(pool: Database, sql: Sql) -> None:
    sql.do(EXPIRED_ROWS["webhook deliveries"], {"user": 1, "from": 1, "to": 3})
    deletion = delivery_queue.purge(age=timedelta(days=30))
    async with pool.autocommit() as connection:
        assert await deletion.delete_batch(connection, limit=2) == 2
        sql.do(EXPIRED_ROWS["webhook deliveries"], {"user": 1, "from": 9, "to": 9})
        # The next batch begins where the previous one ended. It is not full, so the one after it begins at the start.
        assert [await deletion.delete_batch(connection, limit=2) for _ in range(3)] == [1, 1, 0]
