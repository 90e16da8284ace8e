"""Password hashing with Argon2id."""

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

# RFC 9106, section 4, second recommended option: 64 MiB, three passes. One lane, because hashes run in parallel.
_HASHER = argon2.using(type="ID", memory_cost=65_536, time_cost=3, parallelism=1)

_NICENESS = 15
"""Nice value of the hashing threads. On a busy core it gives a thread about a thirtieth of the time (sched(7))."""


class PasswordHasher:
    """Hashes and verifies passwords in a thread pool. Each hash takes 64 MiB and about 0.15 s of a core.

    The threads run at low priority, so that many concurrent logins do not slow down other processes on the machine.
    """

    def __init__(self, concurrency: int) -> None:
        """Run at most `concurrency` hashes at a time. Requests use it through a queue, which limits the others."""
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="argon2", initializer=_lower_priority)
        # Verified if the account does not exist, so that both responses take the same time.
        self._dummy_hash = _HASHER.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """Return the salted hash in the modular crypt format."""
        return str(await self._run(_HASHER.hash, password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return whether the password matches. With None as the hash it takes as long and returns False."""
        matches = await self._run(_HASHER.verify, password, password_hash or self._dummy_hash)
        return bool(matches) and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether the hash was created with parameters other than the current ones."""
        return bool(_HASHER.needs_update(password_hash))

    def close(self) -> None:
        """Cancel waiting calls; the threads end after their current hash."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, function: Callable[..., Any], password: str, *arguments: str) -> Any:  # noqa: ANN401 - the library's
        # NIST SP 800-63B, section 3.1.1.2: normalize, because keyboards compose the same characters differently.
        text = unicodedata.normalize("NFC", password)
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, text, *arguments)


def _lower_priority() -> None:
    # On other systems this would change the priority of the whole process.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
