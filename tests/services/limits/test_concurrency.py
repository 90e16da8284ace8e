"""The concurrency limiter: slots of each key, and the refusal when they are in use."""

from contextlib import ExitStack

import pytest

from app.core.exceptions import TooManyRequestsError
from app.services.limits.concurrency import ConcurrencyLimiter

LIMIT = 2


@pytest.fixture
def limiter() -> ConcurrencyLimiter:
    return ConcurrencyLimiter(LIMIT, code="too_many_streams", detail="Too many streams are open.", retry_after=5)


def test_a_key_whose_slots_are_in_use_is_refused_with_the_configured_error(limiter: ConcurrencyLimiter) -> None:
    with limiter.slot("a"), limiter.slot("a"):
        with pytest.raises(TooManyRequestsError) as refused, limiter.slot("a"):
            pytest.fail("A third slot of two was given out.")
        with limiter.slot("b"):
            assert limiter.total == LIMIT + 1
    assert (refused.value.code, refused.value.detail) == ("too_many_streams", "Too many streams are open.")
    assert refused.value.headers == {"Retry-After": "5"}


def test_a_slot_is_released_after_an_exception_too(limiter: ConcurrencyLimiter) -> None:
    for _ in range(LIMIT + 1):
        with pytest.raises(ValueError, match="body"), limiter.slot("a"):
            raise ValueError("body")
    assert limiter.total == 0


def test_without_a_key_there_is_no_limit(limiter: ConcurrencyLimiter) -> None:
    with ExitStack() as stack:
        for _ in range(LIMIT + 1):
            stack.enter_context(limiter.slot(None))
        assert limiter.total == 0


def test_keys_without_operations_take_no_memory(limiter: ConcurrencyLimiter) -> None:
    for number in range(5):
        with limiter.slot(number):
            pass
    assert len(limiter._in_use) == 0
