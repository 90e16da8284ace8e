"""Fair queue."""

import asyncio
from collections.abc import Hashable
from dataclasses import replace

import pytest

from app.core.exceptions import AppError, OverloadedError, TooManyRequestsError
from app.services.limits.fair_queue import FairQueue, QueueLimits, Slot

LIMITS = QueueLimits(running=2, running_per_client=2, waiting=4, waiting_per_client=3, seconds=60)


def make_queue(**changes: float) -> FairQueue:
    limits = replace(LIMITS, **changes)  # type: ignore[arg-type] # numbers
    return FairQueue(limits, share_error=lambda: TooManyRequestsError(retry_after=1))


async def start(queue: FairQueue, client: Hashable | None) -> asyncio.Task[Slot]:
    task = asyncio.create_task(queue.enter(client))
    await asyncio.sleep(0)
    return task


async def refusal(queue: FairQueue, client: Hashable | None) -> AppError:
    with pytest.raises(AppError) as error:
        await queue.enter(client)
    return error.value


async def test_clients_take_turns() -> None:
    queue = make_queue(running=1)
    running = await queue.enter("first")
    waiting = [await start(queue, client) for client in ("a", "a", "a", "b")]
    order = []
    for _ in waiting:
        running.release()
        await asyncio.sleep(0)
        (turn,) = [task for task in waiting if task.done()]
        order.append("aaab"[waiting.index(turn)])
        waiting[waiting.index(turn)] = asyncio.get_running_loop().create_future()  # type: ignore[call-overload]
        running = turn.result()
    assert order == ["a", "b", "a", "a"]


async def test_one_client_leaves_slots_to_others() -> None:
    queue = make_queue(running_per_client=1)
    await queue.enter("a")
    second = await start(queue, "a")
    other = await queue.enter("b")
    assert not second.done()
    other.release()
    await asyncio.sleep(0)
    assert not second.done()


async def test_client_over_its_share_and_full_queue_are_refused_at_once() -> None:
    queue = make_queue(running=1, waiting_per_client=2)
    await queue.enter("a")
    waiting = [await start(queue, client) for client in "aa"]
    assert isinstance(await refusal(queue, "a"), TooManyRequestsError)
    queue = make_queue(running=1)
    await queue.enter("a")
    waiting = [await start(queue, client) for client in "aabb"]
    assert isinstance(await refusal(queue, "b"), OverloadedError)
    assert queue.stats() == {"running": 1, "running_max": 1, "waiting": 4, "waiting_max": 4, "refused": 1}
    for task in waiting:
        task.cancel()


async def test_full_queue_drops_newest_request_of_client_with_most() -> None:
    queue = make_queue(running=1, waiting=3)
    running = await queue.enter("a")
    waiting = [await start(queue, "a") for _ in range(3)]
    other = await start(queue, "b")
    with pytest.raises(TooManyRequestsError):
        await waiting[2]
    running.release()
    (await other).release()
    assert (await waiting[0]).is_held


async def test_waiting_is_bounded() -> None:
    queue = make_queue(running=1, seconds=0.01)
    await queue.enter("a")
    assert isinstance(await refusal(queue, "b"), OverloadedError)
    assert queue.stats()["waiting"] == 0
    # The client itself uses all slots that it may have.
    queue = make_queue(running_per_client=1, seconds=0.01)
    await queue.enter("a")
    assert isinstance(await refusal(queue, "a"), TooManyRequestsError)


async def test_cancelled_requests_leave_no_trace() -> None:
    queue = make_queue(running=1)
    running = await queue.enter("a")
    waiting, granted = await start(queue, "b"), await start(queue, "c")
    waiting.cancel()
    await asyncio.sleep(0)
    running.release()  # the turn of `granted` comes, and it is cancelled before it runs
    granted.cancel()
    await asyncio.gather(waiting, granted, return_exceptions=True)
    assert queue.stats()["running"] == queue.stats()["waiting"] == 0
    assert queue._clients == {}
    (await queue.enter("d")).release()


async def test_slot_passes_over_a_request_that_is_cancelled_at_the_same_time() -> None:
    queue = make_queue(running=1)
    running = await queue.enter("a")
    cancelled, next_one = await start(queue, "b"), await start(queue, "c")
    cancelled.cancel()
    running.release()  # before the cancelled task runs
    slot = await next_one
    assert queue.stats()["running"] == 1
    slot.release()
    await asyncio.wait({cancelled})
    assert cancelled.cancelled()
    assert queue.stats()["running"] == queue.stats()["waiting"] == 0
    assert queue._clients == {}


async def test_full_queue_replaces_a_request_that_is_cancelled_at_the_same_time() -> None:
    queue = make_queue(running=1, waiting=2)
    running = await queue.enter("a")
    waiting, newest = await start(queue, "b"), await start(queue, "b")
    waiting.add_done_callback(lambda task: task.result().release())
    asyncio.get_running_loop().call_later(0.01, running.release)
    newest.cancel()
    (await queue.enter("c")).release()  # before the cancelled task runs
    assert newest.cancelled()
    assert queue.refused == 0
    assert queue._clients == {}


async def test_released_slots_can_be_resumed() -> None:
    queue = make_queue(running=1)
    first = await queue.enter("a")
    first.release()
    second = await queue.enter("b")
    first.resume()
    first.resume()
    assert queue.stats()["running"] == 2
    for slot in (first, first, second):
        slot.release()
    assert queue.stats()["running"] == 0


async def test_requests_without_client_share_the_limits_of_the_queue_only() -> None:
    queue = make_queue(running_per_client=1)
    for _ in range(2):
        await queue.enter(None)
    waiting = [await start(queue, None) for _ in range(4)]
    assert isinstance(await refusal(queue, None), OverloadedError)
    for task in waiting:
        task.cancel()


async def test_client_that_has_not_been_served_is_next() -> None:
    queue = make_queue(running=1)
    running = await queue.enter("a")
    waiting = [await start(queue, "a") for _ in range(3)]
    other = await start(queue, "b")
    running.release()
    assert (await other).is_held
    for task in waiting:
        task.cancel()


async def test_operation_that_is_next_waits_longer() -> None:
    queue = make_queue(running=1, seconds=0.02, more_seconds_if_next=60)
    running = await queue.enter("a")
    first, second = await start(queue, "b"), await start(queue, "c")
    with pytest.raises(OverloadedError):
        await second
    running.release()
    assert (await first).is_held
    queue = make_queue(running=1, seconds=0.01, more_seconds_if_next=0.02)
    await queue.enter("a")
    assert isinstance(await refusal(queue, "b"), OverloadedError)
