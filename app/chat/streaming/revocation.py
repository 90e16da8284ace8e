"""Cuts the open streams of logins and API keys that are not good any more."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.accounts import callers
from app.database.repositories.accounts.callers import Credential

logger = logging.getLogger(__name__)

POLL_INTERVAL = 1.0
"""Seconds."""


@dataclass(slots=True)
class RevocationWatch:
    """Looks once a second, with one statement, at what every open stream of this process came in with."""

    database: Database
    _streams: dict[Credential, set[Callable[[], None]]] = field(default_factory=dict)

    def add(self, credential: Credential, cut: Callable[[], None]) -> None:
        """Call `cut` when the credential is not good any more."""
        self._streams.setdefault(credential, set()).add(cut)

    def remove(self, credential: Credential, cut: Callable[[], None]) -> None:
        """Not any more: the stream has ended."""
        streams = self._streams.get(credential, set())
        streams.discard(cut)
        if not streams:
            self._streams.pop(credential, None)

    async def run(self) -> None:
        """Watch for ever. While PostgreSQL is away nobody is cut."""
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            if not self._streams:
                continue
            try:
                await self._look()
            except DatabaseUnavailableError:
                continue
            except Exception:
                logger.exception("cannot tell which logins are still good")

    async def _look(self) -> None:
        credentials = list(self._streams)
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            good = await callers.filter_valid(connection, credentials)
        for credential in set(credentials) - good:
            for cut in tuple(self._streams.get(credential, ())):
                cut()
