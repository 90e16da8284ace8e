"""Queue for password hashing, which every route that hashes a password uses."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from app.config import Settings
from app.core.client_network import client_network
from app.core.exceptions import ServiceUnavailableError, TooManyRequestsError
from app.core.password_hashing import PasswordHasher
from app.database.repositories.audit.audit_log import RequestOrigin
from app.services.limits.admission import released_slot
from app.services.limits.concurrency import ConcurrencyLimiter
from app.services.limits.fair_queue import FairQueue, QueueLimits

MAX_HASHES_PER_CLIENT = 16
"""Maximum number of requests of one network, or of one account, that hash or wait in a process."""
_MAX_WAITING_PER_THREAD = 64
"""Maximum number of requests that wait per hashing thread."""
_MORE_SECONDS_IF_NEXT = 3.0
"""Additional time for the request that is next, in seconds: on a busy machine, one hash takes longer than that."""
_DETAIL = "Too many passwords of this network or account are being checked."


@dataclass(frozen=True, slots=True)
class HashingQueue:
    """Gives the hasher to a bounded number of requests at a time. Networks and accounts take turns."""

    hasher: PasswordHasher
    queue: FairQueue
    limiter: ConcurrencyLimiter
    """Requests per network and account."""

    @classmethod
    def open(cls, settings: Settings, hasher: PasswordHasher) -> Self:
        """Return the queue for a hasher with `PASSWORD_HASH_CONCURRENCY` threads."""
        threads = settings.PASSWORD_HASH_CONCURRENCY
        limits = QueueLimits(
            running=threads,
            running_per_client=threads,
            waiting=threads * _MAX_WAITING_PER_THREAD,
            waiting_per_client=MAX_HASHES_PER_CLIENT,
            seconds=settings.PASSWORD_HASH_QUEUE_TIMEOUT,
            more_seconds_if_next=_MORE_SECONDS_IF_NEXT,
        )
        queue = FairQueue(limits, share_error=_share_error, full_error=_full_error)
        limiter = ConcurrencyLimiter(MAX_HASHES_PER_CLIENT, code="too_many_logins", detail=_DETAIL, retry_after=2)
        return cls(hasher, queue, limiter)

    @asynccontextmanager
    async def slot(self, origin: RequestOrigin, account: UUID | None = None) -> AsyncIterator[PasswordHasher]:
        """Wait for the turn of a request, and give it the hasher for the length of the block.

        `account` is the caller's account, if the caller is logged in. Attempts at passwords are counted in the block,
        so that requests that are refused here are not counted.

        Raises:
            TooManyRequestsError: the network or the account has too many requests that hash or wait.
            ServiceUnavailableError: too many requests wait, or the turn did not come in time.

        """
        network = client_network(origin.ip)
        with ExitStack() as limits:
            limits.enter_context(self.limiter.slot(network))
            limits.enter_context(self.limiter.slot(account))
            with released_slot() as max_seconds:
                slot = await self.queue.enter(account or network, max_seconds=max_seconds)
            try:
                yield self.hasher
            finally:
                slot.release()


def _share_error() -> TooManyRequestsError:
    return TooManyRequestsError(_DETAIL, code="too_many_logins", retry_after=2)


def _full_error() -> ServiceUnavailableError:
    return ServiceUnavailableError("Too many passwords are being checked.", code="too_many_logins", retry_after=1)
