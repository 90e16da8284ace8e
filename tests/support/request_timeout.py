"""Timeout of requests to PostgreSQL: longer in the tests than in production."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.database import connection

PRODUCTION_REQUEST_TIMEOUT = connection.REQUEST_TIMEOUT


def extend_request_timeout() -> None:
    """Use a long timeout in all modules that import it later: a busy machine must not look like an outage."""
    connection.REQUEST_TIMEOUT = 10.0
    connection._MAX_POOL_TIMEOUT = 9.0


@contextmanager
def production_request_timeout() -> Iterator[None]:
    """Use the timeout of production, for a PostgreSQL that does not respond, in all modules that have imported it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("app.") and hasattr(module, "REQUEST_TIMEOUT"):
                patch.setattr(module, "REQUEST_TIMEOUT", PRODUCTION_REQUEST_TIMEOUT)
        yield
