"""Ends open streams whose login or API key was revoked."""

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
"""Seconds between two checks."""


@dataclass(slots=True)
class RevocationWatch:
    """Checks the credentials of all open streams of this process with one statement per interval."""

    database: Database
    _streams: dict[Credential, set[Callable[[], None]]] = field(default_factory=dict)

    def add(self, credential: Credential, revoke: Callable[[], None]) -> None:
        """Call `revoke` when the credential is no longer valid."""
        self._streams.setdefault(credential, set()).add(revoke)

    def remove(self, credential: Credential, revoke: Callable[[], None]) -> None:
        """Unregister the callback of a stream that has ended."""
        streams = self._streams.get(credential, set())
        streams.discard(revoke)
        if not streams:
            self._streams.pop(credential, None)

    async def run(self) -> None:
        """Check until cancelled. While PostgreSQL is not available, no stream is ended."""
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            if not self._streams:
                continue
            try:
                await self._check()
            except DatabaseUnavailableError:
                continue
            except Exception:
                logger.exception("revocation check failed")

    async def _check(self) -> None:
        credentials = list(self._streams)
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            valid = await callers.filter_valid(connection, credentials)
        for credential in set(credentials) - valid:
            for revoke in tuple(self._streams.get(credential, ())):
                revoke()
