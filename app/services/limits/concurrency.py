"""Concurrency limiter: maximum number of concurrent operations per key (an account, a network) in this process."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from app.core.exceptions import OverloadedError, TooManyRequestsError


class ConcurrencyLimiter:
    """Limits the number of concurrent operations per key, within one process."""

    def __init__(
        self, limit: int, *, code: str, detail: str, retry_after: int, has_room: Callable[[], bool] = lambda: True
    ) -> None:
        """`limit`: operations per key. `code`, `detail` and `retry_after` (in seconds) describe the error.

        `has_room` returns whether the process has room for one more operation of any key.
        """
        self._limit = limit
        self._code = code
        self._detail = detail
        self._retry_after = retry_after
        self._has_room = has_room
        self._in_use: Counter[Hashable] = Counter()

    @property
    def total(self) -> int:
        """Number of operations in progress, for all keys together."""
        return self._in_use.total()

    @contextmanager
    def slot(self, key: Hashable | None) -> Iterator[None]:
        """Hold one of the key's slots for the length of the block. None: no limit applies, and nothing is counted.

        Raises:
            TooManyRequestsError: all slots of the key are in use.
            OverloadedError: the process has no room.

        """
        if key is None:
            yield
            return
        if self._in_use[key] >= self._limit:
            raise TooManyRequestsError(self._detail, code=self._code, retry_after=self._retry_after)
        if not self._has_room():
            raise OverloadedError
        self._in_use[key] += 1
        try:
            yield
        finally:
            self._in_use[key] -= 1
            if not self._in_use[key]:
                del self._in_use[key]
