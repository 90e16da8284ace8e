"""Heartbeat: the row that each process updates in PostgreSQL every few seconds, with its state."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from app.core.background_tasks import stop_tasks
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database, DatabaseConnection
from app.database.repositories.operations import instances
from app.database.repositories.operations.instances import Instance

logger = logging.getLogger(__name__)

HEARTBEAT_INTERVAL = 10.0
"""Interval between heartbeats in seconds."""
_TIMEOUT = 5.0
"""Timeout of one heartbeat in seconds."""
_FINAL_TIMEOUT = 1.0
"""Timeout of the last heartbeat in seconds."""

Service = Literal["auth", "chat", "admin", "worker"]
StatsProvider = Callable[[], Any]
"""Returns a part of the state of this process, as JSON data. It does not block."""
ReportWriter = Callable[[DatabaseConnection, UUID], Awaitable[None]]
"""Writes further data of this process to PostgreSQL. Takes the id of the process."""


class Heartbeat:
    """Heartbeat of this process. It is in PostgreSQL, so that it remains visible while Redis is unavailable."""

    def __init__(self, database: Database, *, service: Service, version: str) -> None:
        self.instance = Instance(uuid4(), service, version, socket.gethostname(), os.getpid())
        self._database = database
        self._started = time.monotonic()
        self._stats: dict[str, StatsProvider] = {}
        self._report_writers: list[ReportWriter] = []
        self._task: asyncio.Task[None] | None = None

    def add_stats(self, name: str, stats: StatsProvider) -> None:
        """Include the result of `stats` in the state, under a name."""
        self._stats[name] = stats

    def add_report(self, write_report: ReportWriter) -> None:
        """Call `write_report` with each heartbeat, on the same connection."""
        self._report_writers.append(write_report)

    def read_state(self) -> Mapping[str, Any]:
        """Return the state of this process, by the names given to `add_stats`."""
        return {name: stats() for name, stats in self._stats.items()}

    def start(self) -> None:
        """Start the heartbeats."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop the heartbeats, write the reports once more, and remove the row.

        It takes at most `_FINAL_TIMEOUT` seconds and does not raise, so that it cannot delay the end of the process.
        """
        if self._task is None:
            return
        await stop_tasks([self._task])
        try:
            async with self._database.autocommit(max_seconds=_FINAL_TIMEOUT) as connection:
                for write_report in self._report_writers:
                    await write_report(connection, self.instance.id)
                await instances.remove(connection, self.instance.id)
        except DatabaseUnavailableError:
            pass  # without heartbeats, the process is reported as lost
        except Exception:
            logger.exception("heartbeat failed")

    async def beat(self) -> None:
        """Write one heartbeat, with state and reports.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable or too slow.

        """
        state = self.read_state()  # before the heartbeat takes a connection, which the pool would count
        async with self._database.autocommit(max_seconds=_TIMEOUT) as connection:
            await instances.record_heartbeat(connection, self.instance, age=self._age(), state=state)
            for write_report in self._report_writers:
                await write_report(connection, self.instance.id)

    async def _run(self) -> None:
        while True:
            try:
                await self.beat()
            except DatabaseUnavailableError:
                pass  # logged by the requests that fail
            except Exception:
                logger.exception("heartbeat failed")
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    def _age(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._started)
