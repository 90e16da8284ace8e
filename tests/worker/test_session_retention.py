"""Sessions that nobody uses are deleted after the days that the operator says."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from app.database.connection import Database
from app.database.repositories.accounts import erasure
from app.database.repositories.chat import session_retention as stored
from app.database.repositories.chat.session_retention import UnusedSession
from app.services.redis.circuit_breaker import RedisCircuitBreaker
from app.services.redis.keys import cache_index_of_session
from app.worker import session_retention as service
from app.worker.session_retention import SessionRetention, open_session_retention
from tests.fixtures.database import Sql, counted_statements

LEFT = "SELECT title FROM chat_sessions ORDER BY id"


@pytest.fixture
async def breaker(redis_url: str) -> AsyncIterator[RedisCircuitBreaker]:
    client = Redis.from_url(redis_url)
    breaker = RedisCircuitBreaker(client, budget=0.3)
    yield breaker
    await breaker.close()
    await client.aclose()


@pytest.fixture
async def retention(pool: Database, breaker: RedisCircuitBreaker, sql: Sql) -> AsyncIterator[SessionRetention]:
    async with open_session_retention(pool, breaker, days=30) as retention:
        yield retention


def open_session(sql: Sql, title: str, *, days_ago: float, messages: int = 2) -> UUID:
    """Make a session of Ada's that was last used so long ago."""
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
    return [row["title"] for row in sql.rows(LEFT)]


async def test_what_was_not_used_for_so_long_goes_with_its_copies_and_the_rest_stays(
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


async def test_receivers_of_webhooks_are_told_as_if_their_owner_had_deleted_them(
    retention: SessionRetention, sql: Sql
) -> None:
    gone = open_session(sql, "gone", days_ago=40)
    sql.do("INSERT INTO webhook_endpoints (uuid, url, events) VALUES (gen_random_uuid(), 'https://a.example', '{*}')")
    assert await retention.delete_unused() == 1
    (event,) = sql.rows("SELECT type, data FROM webhook_deliveries")
    assert (event["type"], event["data"]["session_id"]) == ("session.deleted", str(gone))


async def test_all_of_many_go_in_batches(
    retention: SessionRetention, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_BATCH_SIZE", 2)
    for number in range(5):
        open_session(sql, str(number), days_ago=40)
    assert await retention.delete_unused() == 5
    assert titles(sql) == []


async def test_a_round_ends_when_its_time_is_over(
    retention: SessionRetention, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_session(sql, "old", days_ago=40)
    monkeypatch.setattr(service, "_RUN_SECONDS", 0)
    assert await retention.delete_unused() == 0


async def test_a_session_that_is_used_again_at_the_last_moment_stays(pool: Database, sql: Sql) -> None:
    uuid = open_session(sql, "used", days_ago=0)
    unused = UnusedSession(sql.value("SELECT id FROM users"), uuid)
    async with pool.transaction() as transaction:
        assert not await stored.remove(transaction, unused, age=timedelta(days=30))
    assert titles(sql) == ["used"]


async def test_a_long_session_goes_in_parts(
    retention: SessionRetention, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_BATCH_SIZE", 10)
    open_session(sql, "long", days_ago=40, messages=55)
    with counted_statements() as statements:
        assert await retention.delete_unused() == 1
    assert len([one for one in statements if one.startswith("DELETE FROM chat_messages")]) >= 6
    assert sql.value("SELECT count(*) FROM chat_messages") == 0


async def test_two_workers_delete_each_session_once_and_wait_for_nobody(
    pool: Database, breaker: RedisCircuitBreaker, sql: Sql
) -> None:
    for number in range(20):
        open_session(sql, str(number), days_ago=40)
    async with (
        open_session_retention(pool, breaker, days=30) as first,
        open_session_retention(pool, breaker, days=30) as second,
    ):
        assert sum(await asyncio.gather(first.delete_unused(), second.delete_unused())) == 20
    assert titles(sql) == []


async def test_while_redis_is_open_nothing_is_deleted(pool: Database, sql: Sql) -> None:
    open_session(sql, "old", days_ago=40)
    client = Redis.from_url("redis://127.0.0.1:9/0")
    breaker = RedisCircuitBreaker(client, budget=0.3)
    try:
        async with open_session_retention(pool, breaker, days=30) as retention:
            # The first failure is what shows that it is away.
            assert await retention.delete_unused() == 1
            open_session(sql, "another", days_ago=40)
            assert breaker.is_open
            assert await retention.delete_unused() == 0
    finally:
        await breaker.close()
        await client.aclose()
    assert titles(sql) == ["another"]
