"""Transcripts of answers that another process generates, with a real PostgreSQL and Redis."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from redis import Redis

from app.chat.streaming.remote import MessageRef, RemoteStreams
from app.config import Settings
from app.database.connection import Database
from app.database.repositories.chat.sessions import StoredTurn
from app.services.redis.client import open_redis
from app.services.redis.keys import stream_key
from app.services.redis.reasoning_buffer import ReasoningBuffer
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from app.services.redis.stream_buffer import BufferedText, StreamBuffer, StreamSnapshot
from tests.fixtures.database import Sql
from tests.support.waiting import LONGEST_WAIT, eventually


@pytest.fixture
async def buffer(settings: Settings, redis: Redis) -> AsyncIterator[StreamBuffer]:
    client, blocking = open_redis(settings), open_redis(settings, max_blocking_seconds=LONGEST_WAIT)
    breaker = RedisCircuitBreaker(client, budget=LONGEST_WAIT)
    yield StreamBuffer(breaker, blocking, lifetime=1200)
    await breaker.close()
    await client.aclose()
    await blocking.aclose()


@pytest.fixture
def answer(sql: Sql, user_id: int, session: UUID) -> MessageRef:
    """An answer that is stored as complete in PostgreSQL."""
    question, answer = uuid4(), uuid4()
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)"
        " SELECT %s, id, 1, 'user', 'Hi', 'complete' FROM chat_sessions",
        [question],
    )
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status, parent_id)"
        " SELECT %s, session_id, 2, 'assistant', 'Hello there', 'complete', id FROM chat_messages",
        [answer],
    )
    return MessageRef(user_id, session, answer)


async def test_answer_text_includes_text_that_reaches_redis_after_the_answer_is_stored(
    pool: Database, buffer: StreamBuffer, answer: MessageRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, was_read = RemoteStreams.find, asyncio.Event()

    async def find_and_signal(streams: RemoteStreams, ref: MessageRef) -> StoredTurn | None:
        stored = await find(streams, ref)
        was_read.set()
        return stored

    monkeypatch.setattr(RemoteStreams, "find", find_and_signal)
    monkeypatch.setattr("app.chat.streaming.remote._FINAL_TEXT_TIMEOUT", LONGEST_WAIT)
    key = stream_key(answer.answer_uuid)
    await buffer.write([StreamSnapshot(key, "Hello", is_over=False)])
    async with RemoteStreams(pool, buffer, ReasoningBuffer(buffer._breaker, lifetime=1200)).answer_text(
        answer
    ) as answer_text:
        await was_read.wait()
        await asyncio.sleep(0.3)  # time to end the stream too early
        await buffer.write([StreamSnapshot(key, "Hello there", is_over=True)])
        await eventually(lambda: answer_text.ending is not None)
        assert answer_text.text == "Hello there"


async def test_text_of_a_stored_answer_ends_immediately_if_its_text_has_expired(
    pool: Database, buffer: StreamBuffer, answer: MessageRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.chat.streaming.remote._FINAL_TEXT_TIMEOUT", 2 * LONGEST_WAIT)
    async with RemoteStreams(pool, buffer, ReasoningBuffer(buffer._breaker, lifetime=1200)).answer_text(
        answer
    ) as answer_text:
        await eventually(lambda: answer_text.ending is not None)
        assert answer_text.text == ""


async def test_text_of_a_stored_answer_ends_after_a_timeout_if_its_text_is_incomplete(
    pool: Database, buffer: StreamBuffer, answer: MessageRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.chat.streaming.remote._FINAL_TEXT_TIMEOUT", 0.1)
    await buffer.write([StreamSnapshot(stream_key(answer.answer_uuid), "Hello", is_over=False)])
    async with (
        asyncio.timeout(LONGEST_WAIT),
        RemoteStreams(pool, buffer, ReasoningBuffer(buffer._breaker, lifetime=1200)).answer_text(answer) as answer_text,
    ):
        await eventually(lambda: answer_text.ending is not None)
        assert answer_text.text == "Hello"


async def test_an_answer_is_read_until_its_last_follower_has_left(
    pool: Database, buffer: StreamBuffer, answer: MessageRef, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql.do("UPDATE chat_messages SET status = 'streaming', lease_expires_at = now() + interval '1 h' WHERE seq = 2")
    reading = set[asyncio.Task[None] | None]()

    async def read(_buffer: StreamBuffer, _id: UUID, **_: object) -> BufferedText:
        reading.add(asyncio.current_task())
        await asyncio.sleep(0)
        return BufferedText()

    monkeypatch.setattr(StreamBuffer, "read", read)
    streams = RemoteStreams(pool, buffer, ReasoningBuffer(buffer._breaker, lifetime=1200))
    async with streams.answer_text(answer):
        async with streams.answer_text(answer):
            await eventually(lambda: len(reading) == 1)
        (task,) = reading
        assert task is not None
        assert not task.cancelling()
    await eventually(task.done)
