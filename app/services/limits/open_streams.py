"""How many event streams an account may have open."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.core.exceptions import TooManyRequestsError

_RETRY_AFTER = 5
"""Seconds after which one of them may have ended."""


class OpenStreams:
    """Keeps one account from holding all the connections of a process. Counted for one process."""

    def __init__(self, limit: int) -> None:
        """`limit`: streams of one account."""
        self._limit = limit
        self._open: Counter[int] = Counter()

    @property
    def open(self) -> int:
        """How many are open, of all accounts together."""
        return self._open.total()

    @contextmanager
    def taken_by(self, user_id: int) -> Iterator[None]:
        """Take a place for the length of the block.

        Raises:
            TooManyRequestsError: the account has all of its own.

        """
        if self._open[user_id] >= self._limit:
            raise TooManyRequestsError(
                "Too many event streams are open.", code="too_many_streams", retry_after=_RETRY_AFTER
            )
        self._open[user_id] += 1
        try:
            yield
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]
