"""Passwords: hashed and compared."""

import asyncio
import os
import secrets
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from passlib.hash import argon2

from app.core.exceptions import ServiceUnavailableError

# RFC 9106, section 4, second recommended option: 64 MiB, three passes. One lane, because hashes run side by side.
_HASHER = argon2.using(type="ID", memory_cost=65_536, time_cost=3, parallelism=1)

_MAX_WAITING_PER_THREAD = 32
"""Callers that may wait for each hash that runs."""
# Of a core that others want too, a thread that has stepped back this far gets a thirtieth (Linux, sched(7)).
_NICENESS = 15


class PasswordHasher:
    """Argon2id, off the event loop, a bounded number at once: each hash takes 64 MiB and about 0.15 s of a core.

    Its threads leave the cores to whoever else wants them: many logins at once must not slow down the conversations.
    """

    def __init__(self, concurrency: int) -> None:
        """At most `concurrency` hashes run at once; 32 times as many callers wait their turn, and more are refused."""
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="argon2", initializer=_lower_priority)
        self._pending = 0
        self._max_pending = concurrency * (1 + _MAX_WAITING_PER_THREAD)
        # Verified when the account does not exist, so that both answers take the same time.
        self._decoy = _HASHER.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """Return the salted hash, in the modular crypt format.

        Raises:
            ServiceUnavailableError: too many are waiting already; so does `verify`.

        """
        return str(await self._run(_HASHER.hash, password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Tell whether the password is right. `None` (no such account) takes as long and is never right."""
        matches = await self._run(_HASHER.verify, password, password_hash or self._decoy)
        return bool(matches) and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether the hash was made with other parameters than today's, and should be made again at login."""
        return bool(_HASHER.needs_update(password_hash))

    def close(self) -> None:
        """End the threads once they have finished what they are at."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, function: Callable[..., Any], password: str, *arguments: str) -> Any:  # noqa: ANN401 - the library's
        if self._pending >= self._max_pending:
            raise ServiceUnavailableError(code="too_many_logins")
        self._pending += 1
        try:
            # NIST SP 800-63B, section 3.1.1.2: the same characters, however a keyboard composed them.
            text = unicodedata.normalize("NFC", password)
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, text, *arguments)
        finally:
            self._pending -= 1


def _lower_priority() -> None:
    # Elsewhere the priority would be the whole process's.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
