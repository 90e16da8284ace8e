"""Tells the rest of the system, every few seconds, that this process is there and how it does."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database, DatabaseConnection
from app.database.repositories.operations import instances
from app.database.repositories.operations.instances import Instance

logger = logging.getLogger(__name__)

HEARTBEAT_INTERVAL = 10.0
"""Seconds between beats."""
_TIMEOUT = 5.0
"""Seconds one may take: what a busy pool, or a slow PostgreSQL, keeps from nobody else."""
_FINAL_TIMEOUT = 1.0
"""Seconds the last one may take."""

Service = Literal["auth", "chat", "admin", "worker"]
StatsProvider = Callable[[], Any]
"""Gives something of this process that JSON can hold, at once."""
ReportWriter = Callable[[DatabaseConnection, UUID], Awaitable[None]]
"""Writes something else of this process, under its id."""


class Heartbeat:
    """One row in PostgreSQL, and not in Redis: it is looked at most when something is away."""

    def __init__(self, database: Database, *, service: Service, version: str) -> None:
        self.instance = Instance(uuid4(), service, version, socket.gethostname(), os.getpid())
        self._database = database
        self._started = time.monotonic()
        self._figures: dict[str, StatsProvider] = {}
        self._reports: list[ReportWriter] = []
        self._task: asyncio.Task[None] | None = None

    def show(self, name: str, figures: StatsProvider) -> None:
        """Have some figures go along with each beat."""
        self._figures[name] = figures

    def report(self, report: ReportWriter) -> None:
        """Have something else written with each beat."""
        self._reports.append(report)

    def start(self) -> None:
        """Begin to beat."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Beat a last time, and take leave. It takes a second at most, and no failure keeps a process from ending."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with self._database.autocommit(max_seconds=_FINAL_TIMEOUT) as connection:
                for report in self._reports:
                    await report(connection, self.instance.id)
                await instances.remove(connection, self.instance.id)
        except DatabaseUnavailableError:
            pass  # it will be missed
        except Exception:
            logger.exception("no heartbeat")

    async def beat(self) -> None:
        """Write down that the process is there.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away or too slow.

        """
        state = self._state()  # before this takes a connection itself
        async with self._database.autocommit(max_seconds=_TIMEOUT) as connection:
            await instances.record_heartbeat(connection, self.instance, age=self._age(), state=state)
            for report in self._reports:
                await report(connection, self.instance.id)

    async def _run(self) -> None:
        while True:
            try:
                await self.beat()
            except DatabaseUnavailableError:
                pass  # whoever needs PostgreSQL says so
            except Exception:
                logger.exception("no heartbeat")
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    def _age(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._started)

    def _state(self) -> Mapping[str, Any]:
        return {name: figures() for name, figures in self._figures.items()}
