"""Background jobs: `python -m app.worker`, as many of them at once as one likes.

Every job may be run twice, or be cut off in the middle: what it did stays right, and the rest is done the next time.
"""

import asyncio
import logging
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Protocol

from app.chat.abandoned import AbandonedTurns, Estimate, Published
from app.config import Settings, get_settings
from app.core.exceptions import DatabaseUnavailableError, StartupError
from app.core.logging import configure_logging
from app.database.connection import Database, DatabaseConnection
from app.database.migrations import wait_for_schema
from app.database.repositories import auth_sessions, idempotency, one_time_tokens, quotas, throttles, usage
from app.services.catalog import Catalog
from app.services.redis import open_redis
from app.services.redis_breaker import RedisBreaker
from app.services.turn_buffer import TurnBuffer

logger = logging.getLogger(__name__)

_JITTER = 0.2
"""Share of its interval by which a job's pause may differ, so that workers do not all come at once."""
_LONGEST_ROUND = 60.0
"""Seconds one round of a job may take."""
_STOP_SECONDS = 5.0
"""What a job that is at it may still take when the worker is told to stop."""
_BATCH = 1000
_BATCH_SECONDS = 10.0
"""What one batch may take."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something that is done again and again."""

    name: str
    interval: float
    """Seconds between rounds, about."""
    work: Callable[[], Awaitable[int]]
    """Makes one round, and says how much there was to do."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Make rounds until the worker stops, whatever happens to PostgreSQL meanwhile."""
        is_away = False
        while not stopping.is_set():
            try:
                async with asyncio.timeout(_LONGEST_ROUND):
                    done = await self.work()
            except (DatabaseUnavailableError, TimeoutError):
                if not is_away:
                    logger.warning("job waits for the database", extra={"job": self.name})
                is_away = True
            except Exception:
                logger.exception("job failed", extra={"job": self.name})
            else:
                if is_away:
                    logger.info("job goes on", extra={"job": self.name})
                is_away = False
                logger.log(logging.INFO if done else logging.DEBUG, "job done", extra={"job": self.name, "count": done})
            with suppress(TimeoutError):
                pause = self.interval * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - not a secret
                await asyncio.wait_for(stopping.wait(), pause)


class Batch(Protocol):
    """Does a part of what there is to do, and says how much; see the repositories."""

    async def __call__(self, connection: DatabaseConnection, *, limit: int) -> int:
        """Remove, or sum up, at most `limit` rows."""
        ...


def jobs(settings: Settings, database: Database, published: Published) -> Iterator[Job]:
    """List what there is to do."""
    catalog = Catalog.from_settings(settings)
    abandoned = AbandonedTurns(
        database, published, Estimate(catalog.primary, settings.LLM_HISTORY_MESSAGES, catalog.cost)
    )
    yield Job("settle abandoned turns", 1.5, abandoned.settle_some)
    for name, batch, interval in (
        ("sum up usage", usage.roll_up, 2.0),
        ("purge idempotency keys", idempotency.purge, 300.0),
        ("purge one-time tokens", one_time_tokens.purge, 300.0),
        ("purge throttles", throttles.purge, 300.0),
        ("purge quota reservations", quotas.purge, 300.0),
        ("purge logins", auth_sessions.purge, 3600.0),
    ):
        yield Job(name, interval, _in_batches(database, batch))


async def run(jobs: Sequence[Job], stopping: asyncio.Event) -> None:
    """Run jobs until told to stop. One that is at it then may finish, within `_STOP_SECONDS`."""
    tasks = [asyncio.create_task(job.run(stopping)) for job in jobs]
    await stopping.wait()
    await asyncio.wait(tasks, timeout=_STOP_SECONDS)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def work(settings: Settings) -> None:
    """Be a worker until SIGTERM or SIGINT.

    Raises:
        StartupError: PostgreSQL does not answer, or the schema is behind.

    """
    async with AsyncExitStack() as stack:
        database = Database.from_settings(settings, application_name="worker")
        stack.push_async_callback(database.close)
        redis = open_redis(settings)
        stack.push_async_callback(redis.aclose)
        buffer = TurnBuffer(RedisBreaker(redis, budget=settings.REDIS_TIMEOUT), redis)
        await wait_for_schema(database)
        # Until here there was nothing to finish: the signal itself ends the process.
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        logger.info("worker started")
        await run(list(jobs(settings, database, buffer.published)), stopping)
    logger.info("worker stopped")


def main() -> int:
    """Run the worker; return the exit code."""
    settings = get_settings()
    configure_logging(
        service="worker", level=settings.LOG_LEVEL, json_lines=settings.LOG_JSON, line_format=settings.LOG_FORMAT
    )
    try:
        asyncio.run(work(settings))
    except StartupError as error:
        logger.critical(str(error))
        return 1
    return 0


def _in_batches(database: Database, batch: Batch) -> Callable[[], Awaitable[int]]:
    async def work() -> int:
        done = 0
        while True:
            async with database.autocommit(max_seconds=_BATCH_SECONDS) as connection:
                count = await batch(connection, limit=_BATCH)
            done += count
            if count < _BATCH:
                return done

    return work


if __name__ == "__main__":
    sys.exit(main())
