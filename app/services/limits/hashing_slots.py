"""Places in the queue for hashing passwords."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.core.client_network import client_network
from app.core.exceptions import TooManyRequestsError
from app.database.repositories.audit.audit_log import RequestOrigin

PLACES_PER_NETWORK = 16
"""Half of the queue, with one hash at a time."""


class Places:
    """Keeps one network from filling the queue, and everybody else from logging in. For one process."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken_by(self, origin: RequestOrigin) -> Iterator[None]:
        """Take a place for the length of the block.

        Raises:
            TooManyRequestsError: the network has all of its own.

        """
        network = client_network(origin.ip)
        if network is None:
            yield
            return
        if self._taken[network] >= PLACES_PER_NETWORK:
            raise TooManyRequestsError(
                "Too many logins and registrations at once from this network.", code="too_many_logins", retry_after=2
            )
        self._taken[network] += 1
        try:
            yield
        finally:
            self._taken[network] -= 1
            if not self._taken[network]:
                del self._taken[network]
