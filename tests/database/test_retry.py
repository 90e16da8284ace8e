"""Retries while PostgreSQL is unavailable."""

import asyncio

import pytest

from app.core.exceptions import DatabaseUnavailableError
from app.database.retry_until_available import retry_until_available


class Operation:
    """Fails `failures` times with `error`, then returns the number of its calls."""

    def __init__(self, failures: float, error: type[Exception] = DatabaseUnavailableError) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return self.calls


async def test_an_operation_is_repeated_until_it_succeeds() -> None:
    operation = Operation(3)
    assert await retry_until_available(lambda: operation(), interval=0.001) == 4  # noqa: PLW0108 - as callers pass it


async def test_the_outage_is_reported_when_the_time_is_over() -> None:
    operation = Operation(float("inf"))
    with pytest.raises(DatabaseUnavailableError):
        await retry_until_available(operation, max_seconds=0.05, interval=0.001)
    assert operation.calls > 1


async def test_a_hanging_attempt_is_cancelled_when_the_time_is_over() -> None:
    with pytest.raises(DatabaseUnavailableError):
        await retry_until_available(asyncio.Event().wait, max_seconds=0.01)


async def test_other_errors_are_not_retried() -> None:
    operation = Operation(1, LookupError)
    with pytest.raises(LookupError):
        await retry_until_available(operation, interval=0.001)
    assert operation.calls == 1
