"""Answers while they are made: what followers see, and when."""

import asyncio
from collections.abc import Sequence
from typing import cast
from uuid import uuid4

import pytest

from app.chat.streaming import publisher
from app.chat.streaming.publisher import GATHER_SECONDS, LiveTurn, Outlet
from app.services.redis.stream_buffer import Draft, TurnBuffer


class FakeBuffer:
    """Takes drafts, each time when its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.written: list[list[Draft]] = []
        self.error: Exception | None = None

    async def write(self, drafts: Sequence[Draft]) -> None:
        self.written.append(list(drafts))
        await self.gate.wait()
        if self.error is not None:
            raise self.error


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nobody_sees_what_is_not_in_redis_yet() -> None:
    buffer = FakeBuffer()
    outlet = Outlet(cast("TurnBuffer", buffer))
    working = asyncio.create_task(outlet.run())
    turn = LiveTurn(uuid4(), outlet)
    turn.publish("Hello")
    await settle()
    assert (turn.text, turn.shown) == ("Hello", 0)
    assert buffer.written == [[Draft(turn.key, "Hello", is_over=False)]]
    buffer.gate.set()
    await settle()
    assert turn.shown == 5
    working.cancel()


async def test_what_comes_during_a_write_goes_out_with_the_next_one_and_shows_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "WRITE_EVERY", 0)
    buffer = FakeBuffer()
    outlet = Outlet(cast("TurnBuffer", buffer))
    working = asyncio.create_task(outlet.run())
    first, second = LiveTurn(uuid4(), outlet), LiveTurn(uuid4(), outlet)
    first.publish("a")
    await settle()
    first.text += "b"
    outlet.put(first)
    second.publish("c")
    buffer.gate.set()
    await settle()
    assert [{draft.text for draft in batch} for batch in buffer.written] == [{"a"}, {"ab", "c"}]
    assert (first.shown, second.shown) == (2, 1)
    working.cancel()


async def test_what_many_turns_say_soon_after_a_write_is_one_write_and_what_begins_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "WRITE_EVERY", 0.3)
    monkeypatch.setattr(publisher, "GATHER_SECONDS", 0)
    buffer = FakeBuffer()
    buffer.gate.set()
    outlet = Outlet(cast("TurnBuffer", buffer))
    working = asyncio.create_task(outlet.run())
    turns = [LiveTurn(uuid4(), outlet) for _ in range(3)]
    for piece in "abc":
        for turn in turns:
            turn.publish(piece)
            await settle()
    assert [[draft.text for draft in batch] for batch in buffer.written] == [["a"], ["a"], ["a"]]
    await asyncio.sleep(0.5)
    assert [[draft.text for draft in batch] for batch in buffer.written[3:]] == [["abc"] * 3]
    working.cancel()


async def test_a_fault_of_the_buffer_holds_nothing_back() -> None:
    buffer = FakeBuffer()
    buffer.error = ZeroDivisionError()
    buffer.gate.set()
    outlet = Outlet(cast("TurnBuffer", buffer))
    working = asyncio.create_task(outlet.run())
    turn = LiveTurn(uuid4(), outlet)
    turn.publish("Hello")
    await settle()
    assert turn.shown == 5
    working.cancel()


async def test_the_first_piece_goes_at_once_and_those_soon_after_it_together() -> None:
    turn = LiveTurn(uuid4())
    seen: list[int] = []
    turn.follow(lambda: seen.append(turn.shown))
    for piece in "abc":
        turn.publish(piece)
    assert seen == [1]
    await asyncio.sleep(GATHER_SECONDS * 3)
    assert seen == [1, 3]
    turn.publish("d")
    assert seen == [1, 3, 4]


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "not begun"])
async def test_a_stop_is_heard_whenever_it_comes(*, is_running: bool) -> None:
    turn = LiveTurn(uuid4())
    if is_running:
        turn.run = asyncio.create_task(asyncio.sleep(60))
    turn.stop()
    assert turn.stop_requested
    if turn.run is not None:
        with pytest.raises(asyncio.CancelledError):
            await turn.run
