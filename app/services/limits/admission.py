"""Admission control: which requests a process works on, and which wait or are refused."""

import time
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from app.config import Settings
from app.core.exceptions import TooManyRequestsError
from app.services.limits.fair_queue import FairQueue, QueueLimits, Slot

_DETAIL = "Too many requests of this account or network are in progress."


@dataclass(slots=True)
class AdmittedRequest:
    """A request that is being processed."""

    control: "AdmissionControl"
    slot: Slot
    queue_deadline: float
    """Time of `time.monotonic` until which the request may wait, in all queues together."""

    def remaining_wait(self) -> float:
        """Return how long the request may still wait in queues, in seconds."""
        return self.queue_deadline - time.monotonic()


_current: ContextVar[AdmittedRequest | None] = ContextVar("admitted_request", default=None)


class AdmissionControl:
    """Queues of the requests of one process."""

    def __init__(self, settings: Settings) -> None:
        """Limit the requests to four fifths of the connection pool: the rest is for background tasks."""
        pool = settings.DATABASE_POOL_SIZE + settings.DATABASE_MAX_OVERFLOW
        running = max(1, min(settings.REQUESTS_PER_PROCESS, pool * 4 // 5))
        expensive = max(1, min(settings.EXPENSIVE_REQUESTS_PER_PROCESS, pool // 5))
        self._requests = self._queue(settings, running)
        self._expensive = self._queue(settings, expensive)

    def stats(self) -> dict[str, Any]:
        """Return the state of both queues, for the heartbeat."""
        return {**self._requests.stats(), "expensive": self._expensive.stats()}

    async def admit(self, client: Hashable | None) -> AdmittedRequest:
        """Wait until the request of the current task may be processed. The caller must release its slot.

        Raises:
            TooManyRequestsError: the client has too many requests in progress.
            OverloadedError: the process has too many requests in progress.

        """
        deadline = time.monotonic() + self._requests.limits.seconds
        request = AdmittedRequest(self, await self._requests.enter(client), deadline)
        _current.set(request)
        return request

    async def enter_expensive(self, request: AdmittedRequest) -> Slot:
        """Wait for a slot of the expensive requests, which the caller must release.

        Raises:
            TooManyRequestsError, OverloadedError: as `admit`.

        """
        return await self._expensive.enter(request.slot.client, max_seconds=request.remaining_wait())

    @staticmethod
    def _queue(settings: Settings, running: int) -> FairQueue:
        limits = QueueLimits(
            running=running,
            running_per_client=min(settings.REQUESTS_PER_CLIENT, max(1, running // 2)),
            waiting=settings.QUEUED_REQUESTS_PER_PROCESS,
            waiting_per_client=settings.QUEUED_REQUESTS_PER_CLIENT,
            seconds=settings.REQUEST_QUEUE_TIMEOUT,
        )
        return FairQueue(limits, share_error=lambda: TooManyRequestsError(_DETAIL, retry_after=1))


@asynccontextmanager
async def expensive_operation() -> AsyncIterator[None]:
    """Run the block as an expensive operation: few run at a time, and the others leave room for other requests.

    Outside a request nothing is limited.

    Raises:
        TooManyRequestsError: the client has too many expensive requests in progress.
        OverloadedError: the process has too many expensive requests in progress.

    """
    request = _current.get()
    if request is None:
        yield
        return
    with released_slot():
        slot = await request.control.enter_expensive(request)
        try:
            yield
        finally:
            slot.release()


def release_slot() -> None:
    """Let another request be processed: the current one waits for something that has its own limit, such as a model."""
    if (request := _current.get()) is not None:
        request.slot.release()


@contextmanager
def released_slot() -> Iterator[float | None]:
    """Let another request be processed during the block, in which the current one waits in another queue.

    Yields how long it may still wait, in seconds. None: outside a request.
    """
    request = _current.get()
    if request is None or not request.slot.is_held:
        yield None if request is None else request.remaining_wait()
        return
    request.slot.release()
    try:
        yield request.remaining_wait()
    finally:
        request.slot.resume()
