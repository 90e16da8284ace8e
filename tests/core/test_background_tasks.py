"""Background tasks are stopped completely, after their grace period."""

import asyncio

from app.core.background_tasks import background_task, stop_tasks


async def test_tasks_that_end_within_the_grace_period_are_not_cancelled() -> None:
    quick = asyncio.create_task(asyncio.sleep(0.01, "done"))
    endless = asyncio.create_task(asyncio.sleep(60))
    await stop_tasks([quick, endless], grace=0.5)
    assert quick.result() == "done"
    assert endless.cancelled()


async def test_stopping_waits_for_the_cleanup_of_a_cancelled_task() -> None:
    cleaned_up = False

    async def work() -> None:
        nonlocal cleaned_up
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned_up = True

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await stop_tasks([task])
    assert cleaned_up


async def test_the_exception_of_a_task_is_discarded() -> None:
    async def fail() -> None:
        raise ValueError

    await stop_tasks([asyncio.create_task(fail())], grace=0.5)
    await stop_tasks([])


async def test_a_background_task_ends_with_its_block() -> None:
    started = asyncio.Event()
    ended = asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with background_task(work):
        await started.wait()
        assert not ended.is_set()
    assert ended.is_set()
