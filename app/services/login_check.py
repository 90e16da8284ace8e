"""Check of long responses that the login or API key of the caller is still valid."""

import time
from dataclasses import dataclass, field

from app.core.exceptions import UnauthorizedError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.accounts import callers
from app.database.repositories.accounts.callers import Credential

_INTERVAL = 1.0
"""Seconds after which a credential is checked again."""


@dataclass(slots=True)
class LoginCheck:
    """Validity of the credential of one request, which was valid when the request began."""

    database: Database
    credential: Credential
    _checked_at: float = field(default_factory=time.monotonic)

    async def check_if_due(self) -> None:
        """Check the credential if the last check is some time ago.

        Raises:
            UnauthorizedError: the login has ended, the key was deleted, or the account disabled.

        """
        if time.monotonic() - self._checked_at > _INTERVAL:
            await self.check()

    async def check(self) -> None:
        """Check the credential now.

        Raises:
            UnauthorizedError: as `check_if_due`.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            if not await callers.filter_valid(connection, [self.credential]):
                raise UnauthorizedError
        self._checked_at = time.monotonic()
