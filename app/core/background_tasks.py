"""Background tasks: run one for the length of a block, and stop tasks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any


async def stop_tasks(tasks: Collection[asyncio.Task[Any]], *, grace: float = 0) -> None:
    """Wait up to `grace` seconds for tasks to end, cancel the rest, and wait for those.

    Results and exceptions of the tasks are discarded.
    """
    tasks = list(tasks)
    if tasks and grace > 0:
        await asyncio.wait(tasks, timeout=grace)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def background_task(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run a coroutine function in a task until the block ends, then cancel it."""
    task = asyncio.create_task(work())
    try:
        yield
    finally:
        await stop_tasks([task])
