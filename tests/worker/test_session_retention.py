"""Deletion of unused sessions after the configured number of days."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from app.database.connection import Database
from app.database.repositories.accounts import erasure
from app.database.repositories.chat import session_retention as repository
from app.database.repositories.chat.session_retention import UnusedSession
from app.services.redis.keys import cache_index_of_session
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from app.worker import session_retention as job
from app.worker.session_retention import SessionRetention, open_session_retention
from tests.fixtures.database import Sql, counted_statements

TITLES = "SELECT title FROM chat_sessions ORDER BY id"


@pytest.fixture
async def breaker(redis_url: str) -> AsyncIterator[RedisCircuitBreaker]:
    client = Redis.from_url(redis_url)
    breaker = RedisCircuitBreaker(client, budget=10)
    yield breaker
    await breaker.close()
    await client.aclose()


@pytest.fixture
async def retention(pool: Database, breaker: RedisCircuitBreaker, sql: Sql) -> AsyncIterator[SessionRetention]:
    async with open_session_retention(pool, breaker, days=30) as retention:
        yield retention


def open_session(sql: Sql, title: str, *, days_ago: float, messages: int = 2) -> UUID:
    """Insert a session that was last used `days_ago`; return its id."""
    uuid = uuid4()
    sql.do(
        "INSERT INTO users (uuid, email, username, password_hash)"
        " VALUES (gen_random_uuid(), 'ada@example.com', 'ada', '') ON CONFLICT DO NOTHING"
    )
    sql.do(
        """
        WITH made AS (
            INSERT INTO chat_sessions (uuid, user_id, title, last_seq, message_count, updated_at)
            SELECT %(uuid)s, id, %(title)s, %(count)s, %(count)s, now() - %(days)s * interval '1 day' FROM users
            RETURNING id
        )
        INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
        SELECT gen_random_uuid(), id, seq, 'user', 'Hi', 'complete' FROM made, generate_series(1, %(count)s) AS seq
        """,
        {"uuid": str(uuid), "title": title, "days": days_ago, "count": messages},
    )
    return uuid


def titles(sql: Sql) -> list[str]:
    return [row["title"] for row in sql.rows(TITLES)]


async def test_unused_sessions_are_deleted_with_their_copies_in_redis(
    retention: SessionRetention, breaker: RedisCircuitBreaker, sql: Sql
) -> None:
    gone = open_session(sql, "gone", days_ago=30.01)
    open_session(sql, "kept", days_ago=29.99)
    assert await retention.delete_unused() == 1
    assert titles(sql) == ["kept"]
    assert sql.value("SELECT count(*) FROM chat_messages") == 2
    async with breaker.guard() as redis:
        assert await redis.exists(cache_index_of_session(gone).deleted)
    assert await retention.delete_unused() == 0


async def test_deletion_emits_the_session_deleted_event(retention: SessionRetention, sql: Sql) -> None:
    gone = open_session(sql, "gone", days_ago=40)
    sql.do("INSERT INTO webhook_endpoints (uuid, url, events) VALUES (gen_random_uuid(), 'https://a.example', '{*}')")
    assert await retention.delete_unused() == 1
    (event,) = sql.rows("SELECT type, data FROM webhook_deliveries")
    assert (event["type"], event["data"]["session_id"]) == ("session.deleted", str(gone))


async def test_many_sessions_are_deleted_in_batches(
    retention: SessionRetention, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_BATCH_SIZE", 2)
    for number in range(5):
        open_session(sql, str(number), days_ago=40)
    assert await retention.delete_unused() == 5
    assert titles(sql) == []


async def test_a_run_ends_at_its_deadline(
    retention: SessionRetention, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_session(sql, "old", days_ago=40)
    monkeypatch.setattr(job, "_RUN_SECONDS", 0)
    assert await retention.delete_unused() == 0


async def test_a_session_used_since_the_query_is_not_deleted(pool: Database, sql: Sql) -> None:
    uuid = open_session(sql, "used", days_ago=0)
    unused = UnusedSession(sql.value("SELECT id FROM users"), uuid)
    async with pool.transaction() as transaction:
        assert not (await repository.remove(transaction, unused, age=timedelta(days=30))).uuids
    assert titles(sql) == ["used"]


async def test_a_long_session_is_deleted_in_several_statements(
    retention: SessionRetention, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_BATCH_SIZE", 10)
    open_session(sql, "long", days_ago=40, messages=55)
    with counted_statements() as statements:
        assert await retention.delete_unused() == 1
    assert len([one for one in statements if one.startswith("DELETE FROM chat_messages")]) >= 6
    assert sql.value("SELECT count(*) FROM chat_messages") == 0


async def test_two_workers_delete_each_session_once(pool: Database, breaker: RedisCircuitBreaker, sql: Sql) -> None:
    for number in range(20):
        open_session(sql, str(number), days_ago=40)
    async with (
        open_session_retention(pool, breaker, days=30) as first,
        open_session_retention(pool, breaker, days=30) as second,
    ):
        assert sum(await asyncio.gather(first.delete_unused(), second.delete_unused())) == 20
    assert titles(sql) == []


async def test_nothing_is_deleted_while_the_redis_circuit_breaker_is_open(pool: Database, sql: Sql) -> None:
    open_session(sql, "old", days_ago=40)
    client = Redis.from_url("redis://127.0.0.1:9/0")
    breaker = RedisCircuitBreaker(client, budget=0.3)
    try:
        async with open_session_retention(pool, breaker, days=30) as retention:
            # The first failure opens the circuit breaker.
            assert await retention.delete_unused() == 1
            open_session(sql, "another", days_ago=40)
            assert breaker.is_open
            assert await retention.delete_unused() == 0
    finally:
        await breaker.close()
        await client.aclose()
    assert titles(sql) == ["another"]


async def test_an_imported_session_counts_as_used_when_it_was_imported(retention: SessionRetention, sql: Sql) -> None:
    open_session(sql, "imported", days_ago=900)
    open_session(sql, "imported long ago", days_ago=900)
    sql.do(
        "INSERT INTO imported_sessions (session_id, user_id, fingerprint, created_at)"
        " SELECT id, user_id, sha256(title::bytea),"
        " now() - CASE title WHEN 'imported' THEN 29 ELSE 31 END * interval '1 day' FROM chat_sessions"
    )
    assert await retention.delete_unused() == 1
    assert titles(sql) == ["imported"]
