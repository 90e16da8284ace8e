"""Fair queue: a bounded number of operations runs at a time, and a bounded number waits for a bounded time."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from app.core.exceptions import AppError, OverloadedError


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Limits of a queue, in operations, and the longest wait."""

    running: int
    running_per_client: int
    waiting: int
    waiting_per_client: int
    seconds: float
    """Time after which a waiting operation is refused."""
    more_seconds_if_next: float = 0.0
    """Additional time for the operation whose turn is next, for operations that take long."""


@dataclass(slots=True)
class _Client:
    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Slot:
    """The right to run one operation. It can be released early, and resumed."""

    __slots__ = ("_queue", "client", "is_held")

    def __init__(self, queue: "FairQueue", client: Hashable | None) -> None:
        """Create a slot that is not held. Without a client, only the limits of the whole queue apply."""
        self._queue = queue
        self.client: Hashable = self if client is None else client
        self.is_held = False

    def release(self) -> None:
        """Let another operation run. Nothing happens if the slot is not held."""
        if self.is_held:
            self.is_held = False
            self._queue.leave(self.client)

    def resume(self) -> None:
        """Hold the slot again, without waiting: the limits may be exceeded by the operations that resume."""
        if not self.is_held:
            self.is_held = True
            self._queue.take(self.client)


class FairQueue:
    """Queue in which clients take turns, so that the requests of one client do not delay those of others."""

    def __init__(
        self,
        limits: QueueLimits,
        *,
        share_error: Callable[[], AppError],
        full_error: Callable[[], AppError] = OverloadedError,
    ) -> None:
        """`share_error` creates the error for a client that exceeds its share, `full_error` that for all others."""
        self.limits = limits
        self.refused = 0
        """Number of operations that were refused so far."""
        self._share_error = share_error
        self._full_error = full_error
        self._running = 0
        self._waiting = 0
        self._clients: dict[Hashable, _Client] = {}
        self._first: OrderedDict[Hashable, None] = OrderedDict()
        """Clients with waiting operations of which none runs or was started since they wait. They are next."""
        self._turns: OrderedDict[Hashable, None] = OrderedDict()
        """Other clients with waiting operations, in the order of their turns."""

    def stats(self) -> dict[str, int]:
        """Return how many operations run and wait, their limits, and how many were refused."""
        return {
            "running": self._running,
            "running_max": self.limits.running,
            "waiting": self._waiting,
            "waiting_max": self.limits.waiting,
            "refused": self.refused,
        }

    async def enter(self, client: Hashable | None, *, max_seconds: float | None = None) -> Slot:
        """Wait until an operation of a client may run, and return its slot, which the caller must release.

        `max_seconds` shortens the wait. Cancelling the caller gives its place up.

        Raises:
            AppError: the client uses its share (`share_error`); or the queue is full, or no slot became free in time
                (`full_error`).

        """
        slot = Slot(self, client)
        state = self._clients.get(slot.client)
        if self._running < self.limits.running and (
            state is None or (state.running < self.limits.running_per_client and not state.waiting)
        ):
            slot.resume()
            return slot
        await self._wait(slot, self.limits.seconds if max_seconds is None else min(max_seconds, self.limits.seconds))
        return slot

    def take(self, client: Hashable) -> None:
        """Count a running operation; see `Slot.resume`."""
        self._running += 1
        self._clients.setdefault(client, _Client()).running += 1

    def leave(self, client: Hashable) -> None:
        """Count the end of a running operation, and start waiting ones; see `Slot.release`."""
        self._running -= 1
        self._clients[client].running -= 1
        self._forget(client)
        self._start_waiting()

    async def _wait(self, slot: Slot, seconds: float) -> None:
        state = self._clients.setdefault(slot.client, _Client())
        try:
            self._make_room(state)
        except AppError:
            self._forget(slot.client)
            raise
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        if not state.waiting:
            (self._turns if state.running else self._first)[slot.client] = None
        state.waiting.append(turn)
        self._waiting += 1
        timers = [loop.call_later(max(seconds, 0), self._time_out, slot.client, turn)]
        if self.limits.more_seconds_if_next:
            seconds += self.limits.more_seconds_if_next
            timers.append(loop.call_later(max(seconds, 0), self._time_out, slot.client, turn, True))  # noqa: FBT003
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(slot.client)  # cancelled after its turn had come
            else:
                self._remove(slot.client, turn)
            raise
        finally:
            for timer in timers:
                timer.cancel()
        slot.is_held = True

    def _make_room(self, state: _Client) -> None:
        """Check the limits of waiting operations. If the queue is full, the client with the most of them loses one."""
        if len(state.waiting) >= self.limits.waiting_per_client:
            raise self._refusal(exceeds_share=True)
        if self._waiting < self.limits.waiting:
            return
        longest = max(self._in_turn(), key=lambda client: len(self._clients[client].waiting), default=None)
        if longest is None or len(self._clients[longest].waiting) <= len(state.waiting) + 1:
            raise self._refusal(exceeds_share=False)
        newest = self._clients[longest].waiting[-1]
        self._remove(longest, newest)
        if not newest.done():  # otherwise it was cancelled, and its task has not run since
            newest.set_exception(self._refusal(exceeds_share=True))

    def _time_out(self, client: Hashable, turn: asyncio.Future[None], is_last: bool = False) -> None:  # noqa: FBT001, FBT002
        if turn.done() or (self.limits.more_seconds_if_next and not is_last and self._is_next(client, turn)):
            return
        exceeds_share = self._clients[client].running >= self.limits.running_per_client
        self._remove(client, turn)
        turn.set_exception(self._refusal(exceeds_share=exceeds_share))

    def _refusal(self, *, exceeds_share: bool) -> AppError:
        self.refused += 1
        return self._share_error() if exceeds_share else self._full_error()

    def _start_waiting(self) -> None:
        while self._running < self.limits.running:
            client = next(filter(self._may_run, self._in_turn()), None)
            if client is None:
                return
            turn = self._clients[client].waiting[0]
            if turn.done():  # cancelled, and its task has not run since
                self._remove(client, turn)
                continue
            self._remove(client, turn, is_last_use=False)
            if self._clients[client].waiting:
                self._first.pop(client, None)
                self._turns[client] = None
                self._turns.move_to_end(client)
            self.take(client)
            turn.set_result(None)

    def _in_turn(self) -> Iterator[Hashable]:
        return chain(self._first, self._turns)

    def _is_next(self, client: Hashable, turn: asyncio.Future[None]) -> bool:
        return next(self._in_turn(), None) == client and self._clients[client].waiting[0] is turn

    def _may_run(self, client: Hashable) -> bool:
        return self._clients[client].running < self.limits.running_per_client

    def _remove(self, client: Hashable, turn: asyncio.Future[None], *, is_last_use: bool = True) -> None:
        state = self._clients.get(client)
        if state is None or turn not in state.waiting:
            return
        state.waiting.remove(turn)
        self._waiting -= 1
        if not state.waiting:
            self._first.pop(client, None)
            self._turns.pop(client, None)
        if is_last_use:
            self._forget(client)

    def _forget(self, client: Hashable) -> None:
        state = self._clients[client]
        if not state.running and not state.waiting:
            del self._clients[client]
