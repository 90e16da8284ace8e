"""Stream publisher: writes to Redis, and the text that subscribers see."""

import asyncio
from collections.abc import Sequence
from typing import cast
from uuid import uuid4

import pytest

from app.chat.streaming import publisher as publisher_module
from app.chat.streaming.publisher import BATCH_INTERVAL, AnswerStream, StreamPublisher
from app.services.redis.stream_buffer import StreamBuffer, StreamSnapshot
from tests.support.waiting import eventually


class FakeBuffer:
    """Buffer whose writes wait until the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.written: list[list[StreamSnapshot]] = []
        self.error: Exception | None = None

    async def write(self, snapshots: Sequence[StreamSnapshot]) -> None:
        self.written.append(list(snapshots))
        await self.gate.wait()
        if self.error is not None:
            raise self.error


async def run_pending_tasks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_text_is_not_visible_before_it_is_in_redis() -> None:
    buffer = FakeBuffer()
    publisher = StreamPublisher(cast("StreamBuffer", buffer))
    publishing = asyncio.create_task(publisher.run())
    turn = AnswerStream(uuid4(), publisher)
    turn.publish("Hello")
    await run_pending_tasks()
    assert (turn.text, turn.visible_length) == ("Hello", 0)
    assert buffer.written == [[StreamSnapshot(turn.key, "Hello", is_over=False)]]
    buffer.gate.set()
    await run_pending_tasks()
    assert turn.visible_length == 5
    publishing.cancel()


async def test_text_received_during_a_write_is_not_visible_after_it() -> None:
    buffer = FakeBuffer()
    publisher = StreamPublisher(cast("StreamBuffer", buffer))
    publishing = asyncio.create_task(publisher.run())
    turn = AnswerStream(uuid4(), publisher)
    turn.publish("Hello")
    await run_pending_tasks()
    turn.text += " again"
    buffer.gate.set()
    await run_pending_tasks()
    assert turn.visible_length == 5
    publishing.cancel()


async def test_text_received_during_a_write_is_written_and_visible_with_the_next_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher_module, "WRITE_INTERVAL", 0)
    buffer = FakeBuffer()
    publisher = StreamPublisher(cast("StreamBuffer", buffer))
    publishing = asyncio.create_task(publisher.run())
    first, second = AnswerStream(uuid4(), publisher), AnswerStream(uuid4(), publisher)
    first.publish("a")
    await run_pending_tasks()
    first.text += "b"
    publisher.put(first)
    second.publish("c")
    buffer.gate.set()
    await run_pending_tasks()
    assert [{snapshot.text for snapshot in batch} for batch in buffer.written] == [{"a"}, {"ab", "c"}]
    assert (first.visible_length, second.visible_length) == (2, 1)
    publishing.cancel()


async def test_first_deltas_are_written_immediately_and_later_deltas_of_all_turns_in_one_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher_module, "WRITE_INTERVAL", 1.0)
    monkeypatch.setattr(publisher_module, "BATCH_INTERVAL", 0)
    buffer = FakeBuffer()
    buffer.gate.set()
    publisher = StreamPublisher(cast("StreamBuffer", buffer))
    publishing = asyncio.create_task(publisher.run())
    turns = [AnswerStream(uuid4(), publisher) for _ in range(3)]
    for piece in "abc":
        for turn in turns:
            turn.publish(piece)
            await run_pending_tasks()
    assert [[snapshot.text for snapshot in batch] for batch in buffer.written] == [["a"], ["a"], ["a"]]
    await eventually(lambda: len(buffer.written) > 3)
    assert [[snapshot.text for snapshot in batch] for batch in buffer.written[3:]] == [["abc"] * 3]
    publishing.cancel()


async def test_text_becomes_visible_when_the_buffer_fails() -> None:
    buffer = FakeBuffer()
    buffer.error = ZeroDivisionError()
    buffer.gate.set()
    publisher = StreamPublisher(cast("StreamBuffer", buffer))
    publishing = asyncio.create_task(publisher.run())
    turn = AnswerStream(uuid4(), publisher)
    turn.publish("Hello")
    await run_pending_tasks()
    assert turn.visible_length == 5
    publishing.cancel()


async def test_first_delta_is_published_immediately_and_the_next_ones_together() -> None:
    turn = AnswerStream(uuid4())
    visible_lengths: list[int] = []
    turn.subscribe(lambda: visible_lengths.append(turn.visible_length))
    for piece in "abc":
        turn.publish(piece)
    assert visible_lengths == [1]
    await eventually(lambda: len(visible_lengths) > 1)
    assert visible_lengths == [1, 3]
    await asyncio.sleep(BATCH_INTERVAL)
    turn.publish("d")
    assert visible_lengths == [1, 3, 4]


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "not begun"])
async def test_cancellation_before_and_during_the_run_is_recorded(*, is_running: bool) -> None:
    turn = AnswerStream(uuid4())
    if is_running:
        turn.run = asyncio.create_task(asyncio.sleep(60))
    turn.cancel()
    assert turn.is_cancel_requested
    if turn.run is not None:
        with pytest.raises(asyncio.CancelledError):
            await turn.run
