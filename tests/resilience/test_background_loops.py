"""Background loops of the services go on after any error: an outage, or a fault of their own."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast
from unittest.mock import AsyncMock, Mock
from uuid import uuid4

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from app.chat.streaming import revocation
from app.chat.streaming.publisher import AnswerStream, StreamPublisher
from app.chat.streaming.revocation import RevocationWatch
from app.core.exceptions import DatabaseUnavailableError
from app.services.redis import cancel_channel, redis_circuit_breaker
from app.services.redis.cancel_channel import CancelChannel
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError
from tests.support.waiting import eventually

ERRORS = [DatabaseUnavailableError(), TimeoutError(), RedisConnectionError(), OSError(), ZeroDivisionError()]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(cancel_channel, "_RECONNECT_DELAY", 0.001)
    monkeypatch.setattr(redis_circuit_breaker, "_PROBE_INTERVAL", 0.001)
    monkeypatch.setattr(revocation, "POLL_INTERVAL", 0.001)


async def run_until(loop: Coroutine[Any, Any, None], condition: Any) -> None:  # noqa: ANN401 - a function
    task = asyncio.create_task(loop)
    try:
        await eventually(lambda: condition() or task.done())
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_revocation_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    check = AsyncMock(side_effect=[*ERRORS, None, None, *[None] * 10_000])
    monkeypatch.setattr(RevocationWatch, "_check", check)
    watch = RevocationWatch(cast("Any", None))
    watch.add(cast("Any", ("login", uuid4())), lambda: None)
    await run_until(watch.run(), lambda: check.await_count > len(ERRORS) + 1)


async def test_cancel_channel() -> None:
    wanted = uuid4()
    message = {"data": str(wanted).encode()}
    channel = AsyncMock()
    channel.get_message = AsyncMock(
        side_effect=[*ERRORS, {"data": b"x"}, {"data": b"\xff"}, message, *[None] * 100_000]
    )

    @asynccontextmanager
    async def pubsub(**_: object) -> Any:  # noqa: ANN401 - a mock
        yield channel

    cancelled: list[Any] = []

    def stop(turn_id: object) -> None:
        cancelled.append(turn_id)
        raise ZeroDivisionError

    listener = CancelChannel(cast("Any", Mock()), cast("Any", Mock(pubsub=pubsub)))
    await run_until(listener.listen(stop), lambda: channel.get_message.await_count > len(ERRORS) + 4)
    assert cancelled == [wanted]


async def test_probe_of_the_redis_circuit_breaker() -> None:
    redis = Mock(ping=AsyncMock(side_effect=[*ERRORS, True]))
    breaker = RedisCircuitBreaker(redis, budget=1)
    with pytest.raises(RedisUnavailableError):
        async with breaker.guard():
            raise RedisConnectionError
    assert breaker.is_open
    await eventually(lambda: not breaker.is_open)
    assert redis.ping.await_count == len(ERRORS) + 1
    await breaker.close()


async def test_stream_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = Mock(write=AsyncMock(side_effect=[*ERRORS, *[None] * 1000]))
    publisher = StreamPublisher(buffer)
    broken, whole = AnswerStream(uuid4(), publisher), AnswerStream(uuid4(), publisher)
    shown = Mock()
    monkeypatch.setattr(broken, "show", Mock(side_effect=ZeroDivisionError))
    monkeypatch.setattr(whole, "show", shown)

    def has_written_more_than(count: int) -> bool:
        return int(buffer.write.await_count) > count

    async def publish() -> None:
        for number in range(len(ERRORS) + 2):
            for answer in (broken, whole):
                answer.publish(f"{number} ")
            await eventually(partial(has_written_more_than, number))
        whole.end(cast("Any", Mock()))

    publishing = asyncio.create_task(publish())
    await run_until(publisher.run(), lambda: shown.call_args is not None and shown.call_args.args[1] is not None)
    await publishing
