"""The stream buffer, with a real Redis."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app.config import Settings
from app.services.redis.client import open_redis
from app.services.redis.keys import stream_key
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from app.services.redis.stream_buffer import FINISHED_TTL, BufferedText, StreamBuffer, StreamSnapshot
from tests.support.waiting import LONGEST_WAIT, eventually


@pytest.fixture
async def buffer(settings: Settings, breaker: RedisCircuitBreaker) -> AsyncIterator[StreamBuffer]:
    blocking = open_redis(settings, max_blocking_seconds=LONGEST_WAIT)
    yield StreamBuffer(breaker, blocking, lifetime=1200)
    await blocking.aclose()


def snapshot(turn: UUID, text: str, *, is_over: bool = False) -> StreamSnapshot:
    return StreamSnapshot(stream_key(turn), text, is_over)


async def test_written_text_can_be_read_from_any_position(buffer: StreamBuffer) -> None:
    turn, text = uuid4(), "Grüße 🌍, wie geht es?"
    for length in (1, 4, 7, 7, len(text)):
        await buffer.write([snapshot(turn, text[:length])])
    await buffer.write([snapshot(turn, text, is_over=True)])
    for position in range(len(text) + 1):
        assert await buffer.read(turn, after=position, wait=0) == BufferedText(text[position:], is_over=True)
    assert await buffer.published_text(turn) == text


async def test_turns_are_buffered_separately(buffer: StreamBuffer) -> None:
    turns = [uuid4() for _ in range(5)]
    await buffer.write([snapshot(turn, str(number)) for number, turn in enumerate(turns)])
    await buffer.write([snapshot(turn, f"{number}+") for number, turn in enumerate(turns)])
    assert [await buffer.published_text(turn) for turn in turns] == ["0+", "1+", "2+", "3+", "4+"]


def blocked_clients(redis: Redis) -> int:
    return int(redis.info("clients")["blocked_clients"])


async def test_a_read_waits_for_new_text(buffer: StreamBuffer, redis: Redis) -> None:
    turn = uuid4()
    reading = asyncio.create_task(buffer.read(turn, after=0, wait=LONGEST_WAIT))
    await eventually(lambda: blocked_clients(redis) >= 1)
    await buffer.write([snapshot(turn, "Hello")])
    assert (await reading).text == "Hello"
    assert await buffer.read(turn, after=5, wait=0.1) == BufferedText()


async def test_many_reads_can_wait_at_the_same_time(buffer: StreamBuffer, redis: Redis) -> None:
    turns = [uuid4() for _ in range(150)]
    reading = [asyncio.create_task(buffer.read(turn, after=0, wait=LONGEST_WAIT)) for turn in turns]
    await eventually(lambda: blocked_clients(redis) >= len(turns))
    await buffer.write([snapshot(turn, "Hello") for turn in turns])
    assert await asyncio.gather(*reading) == [BufferedText("Hello")] * len(turns)


async def test_every_key_expires(buffer: StreamBuffer, redis: Redis) -> None:
    running, finished = uuid4(), uuid4()
    await buffer.write([snapshot(running, "a"), snapshot(finished, "b", is_over=True)])
    assert redis.ttl(f"turn:{running}") > FINISHED_TTL
    assert 0 < redis.ttl(f"turn:{finished}") <= FINISHED_TTL


async def test_lost_text_is_written_again_with_the_next_piece(buffer: StreamBuffer, redis: Redis) -> None:
    turn = uuid4()
    await buffer.write([snapshot(turn, "one")])
    redis.flushdb()
    await buffer.write([snapshot(turn, "one two")])  # detects the loss
    assert not await buffer.published_text(turn)
    await buffer.write([snapshot(turn, "one two three")])
    assert await buffer.published_text(turn) == "one two three"
    redis.flushdb()
    await buffer.write([snapshot(turn, "one two three", is_over=True)])
    assert await buffer.read(turn, after=0, wait=0) == BufferedText("one two three", is_over=True)


async def test_a_gap_in_the_text_is_detected(buffer: StreamBuffer, redis: Redis) -> None:
    turn = uuid4()
    await buffer.write([snapshot(turn, "one")])
    await buffer.write([snapshot(turn, "one two")])
    redis.xdel(f"turn:{turn}", "3-0")
    assert (await buffer.read(turn, after=0, wait=0)).has_gap
    assert await buffer.read(turn, after=3, wait=0) == BufferedText(" two")
    assert not await buffer.published_text(turn)


async def test_entries_with_another_format_are_reported_as_a_gap(buffer: StreamBuffer, redis: Redis) -> None:
    turn = uuid4()
    redis.xadd(f"turn:{turn}", {"text": b"\xff"}, id="1-0")
    assert (await buffer.read(turn, after=0, wait=0)).has_gap


async def test_an_answer_over_the_maximum_length_is_not_buffered(buffer: StreamBuffer, redis: Redis) -> None:
    turn = uuid4()
    await buffer.write([snapshot(turn, "x" * 1000)])
    await buffer.write([snapshot(turn, "x" * 300_000)])
    assert not redis.exists(f"turn:{turn}")
    await buffer.write([snapshot(turn, "x" * 300_001, is_over=True)])
    assert not redis.exists(f"turn:{turn}")


async def test_a_write_to_a_frozen_redis_takes_its_budget_once() -> None:
    server = socket.create_server(("127.0.0.1", 0))  # accepts connections, and never answers
    silent = AsyncRedis(host="127.0.0.1", port=server.getsockname()[1])
    breaker = RedisCircuitBreaker(silent, budget=0.2)
    buffer = StreamBuffer(breaker, silent, lifetime=1200)
    started = time.monotonic()
    await buffer.write([snapshot(uuid4(), "a")])
    assert 0.15 < time.monotonic() - started < 30
    assert breaker.is_open
    started = time.monotonic()
    for _ in range(500):
        await buffer.write([snapshot(uuid4(), "a")])
    # Each would have taken 0.2 s.
    assert time.monotonic() - started < 30
    assert (await buffer.read(uuid4(), after=0, wait=0)).has_gap
    await breaker.close()
    await silent.aclose()
    server.close()
