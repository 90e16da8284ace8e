"""The buffer of reasoning, with a real Redis."""

from uuid import uuid4

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.services.redis.keys import reasoning_key, stream_tombstone
from app.services.redis.reasoning_buffer import ReasoningBuffer, ReasoningPiece
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker


async def test_pieces_are_appended_and_can_be_read_from_any_byte(breaker: RedisCircuitBreaker, redis: Redis) -> None:
    buffer, turn = ReasoningBuffer(breaker, lifetime=1200), uuid4()
    assert await buffer.write([ReasoningPiece(turn, 0, "Grüße ")]) == []
    assert await buffer.write([ReasoningPiece(turn, 8, "🌍.")]) == []
    assert (await buffer.read(turn, start=0)).decode() == "Grüße 🌍."
    assert (await buffer.read(turn, start=8)).decode() == "🌍."
    assert await buffer.read(turn, start=13) == b""
    assert 0 < int(redis.ttl(reasoning_key(turn))) <= 1200


async def test_lost_beginning_is_reported_and_written_again(breaker: RedisCircuitBreaker, redis: Redis) -> None:
    buffer, turns = ReasoningBuffer(breaker, lifetime=1200), (uuid4(), uuid4())
    await buffer.write([ReasoningPiece(turn, 0, "a") for turn in turns])
    redis.delete(reasoning_key(turns[1]))
    pieces = [ReasoningPiece(turn, 1, "b") for turn in turns]
    assert await buffer.write(pieces) == [pieces[1]]
    assert await buffer.write([ReasoningPiece(turns[1], 0, "ab")]) == []
    assert [await buffer.read(turn, start=0) for turn in turns] == [b"ab", b"ab"]


async def test_reasoning_of_a_deleted_answer_is_not_written(breaker: RedisCircuitBreaker, redis: Redis) -> None:
    buffer, turn = ReasoningBuffer(breaker, lifetime=1200), uuid4()
    redis.set(stream_tombstone(turn), 1)
    assert await buffer.write([ReasoningPiece(turn, 0, "a")]) == []
    assert await buffer.read(turn, start=0) == b""


async def test_pieces_are_returned_while_redis_is_unavailable() -> None:
    unreachable = AsyncRedis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    breaker, turn = RedisCircuitBreaker(unreachable, budget=0.5), uuid4()
    buffer = ReasoningBuffer(breaker, lifetime=1200)
    piece = ReasoningPiece(turn, 0, "a")
    assert await buffer.write([piece]) == [piece]
    assert await buffer.read(turn, start=0) == b""
    await breaker.close()
    await unreachable.aclose()
