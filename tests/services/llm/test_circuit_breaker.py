"""Circuit breakers of models."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.services.llm.circuit_breaker import CircuitBreaker, CircuitBreakers


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(failures=3, pause=10, now=clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.record_failure()


def test_consecutive_failures_open_the_breaker(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    assert (breaker.state, breaker.allow_request()) == ("closed", True)
    fail(breaker, 1)
    assert (breaker.state, breaker.allow_request(), breaker.seconds_until_retry) == ("open", False, 10)


def test_a_success_resets_the_count_of_failures(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.record_success()
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_one_probe_is_allowed_after_the_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.time += 10
    assert breaker.state == "half_open"
    assert [breaker.allow_request() for _ in range(3)] == [True, False, False]
    assert breaker.state == "half_open"


def test_a_successful_probe_closes_the_breaker(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.time += 10
    assert breaker.allow_request()
    breaker.record_success()
    assert breaker.state == "closed"
    assert [breaker.allow_request() for _ in range(3)] == [True] * 3


def test_a_failed_probe_opens_the_breaker_for_another_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.time += 10
    assert breaker.allow_request()
    clock.time += 4
    breaker.record_failure()
    assert (breaker.state, breaker.seconds_until_retry) == ("open", 10)


def test_a_probe_without_an_outcome_delays_the_next_one_by_a_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.time += 10
    assert breaker.allow_request()
    clock.time += 9
    assert not breaker.allow_request()
    clock.time += 1
    assert breaker.allow_request()


@pytest.mark.parametrize(("retry_after", "due"), [(None, 10), (5, 10), (30, 30), (86_400, 60)])
def test_retry_after_extends_the_pause_up_to_a_maximum(
    breaker: CircuitBreaker, retry_after: float | None, due: float
) -> None:
    fail(breaker, 2)
    breaker.record_failure(retry_after)
    assert breaker.seconds_until_retry == due


def test_each_model_has_its_own_breaker(clock: Clock) -> None:
    breakers = CircuitBreakers({"a": "one", "b": "two"}, failures=1, pause=10, now=clock)
    breakers.record_failure("a", retry_after=None)
    assert breakers.states == {"a": "open", "b": "closed"}
    assert (breakers.allow_request("a"), breakers.allow_request("b")) == (False, True)
    assert (breakers.seconds_until_retry("a"), breakers.seconds_until_retry("b")) == (10, 0)
    clock.time += 10
    assert breakers.allow_request("a")
    breakers.record_success("a")
    assert breakers.states == {"a": "closed", "b": "closed"}


_ROUNDING = 1e-6
"""What adding up seconds may be off by."""


class BreakerMachine(RuleBasedStateMachine):
    """In any sequence of events: at most one request per pause while it is not closed; a success closes it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = CircuitBreaker(failures=3, pause=10, now=self.clock)
        self.failures = 0
        self.last_probe = 0.0

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.clock.time += seconds

    @rule()
    def ask(self) -> None:
        is_allowed = self.breaker.allow_request()
        if self.failures < 3:
            assert is_allowed
        elif is_allowed:
            assert self.clock.time - self.last_probe >= 10 - _ROUNDING
            self.last_probe = self.clock.time

    @rule()
    def succeed(self) -> None:
        self.breaker.record_success()
        self.failures, self.last_probe = 0, 0.0

    @rule()
    def fail(self) -> None:
        self.breaker.record_failure()
        self.failures += 1

    @invariant()
    def closed_below_the_failure_limit(self) -> None:
        assert (self.breaker.state == "closed") is (self.failures < 3)

    @invariant()
    def delay_is_limited(self) -> None:
        assert 0 <= self.breaker.seconds_until_retry <= 10 + _ROUNDING


TestBreakerMachine = BreakerMachine.TestCase
