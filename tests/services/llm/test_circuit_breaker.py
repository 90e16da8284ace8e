"""Models that keep failing are left alone, and are found out when they are well again."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.services.llm.circuit_breaker import Breaker, Breakers


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, pause=10, now=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed()


def test_so_many_failures_in_a_row_open_it(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert (breaker.state, breaker.lets_through()) == ("closed", True)
    fail(breaker, 1)
    assert (breaker.state, breaker.lets_through(), breaker.due_in) == ("open", False, 10)


def test_a_success_in_between_is_a_new_start(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_after_the_pause_one_probe_is_let_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.time += 10
    assert breaker.state == "half_open"
    assert [breaker.lets_through() for _ in range(3)] == [True, False, False]
    assert breaker.state == "half_open"


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.time += 10
    assert breaker.lets_through()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert [breaker.lets_through() for _ in range(3)] == [True] * 3


def test_a_probe_that_fails_opens_it_for_another_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.time += 10
    assert breaker.lets_through()
    clock.time += 4
    breaker.failed()
    assert (breaker.state, breaker.due_in) == ("open", 10)


def test_a_probe_of_which_nobody_hears_again_costs_another_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.time += 10
    assert breaker.lets_through()
    clock.time += 9
    assert not breaker.lets_through()
    clock.time += 1
    assert breaker.lets_through()


@pytest.mark.parametrize(("asked", "due"), [(None, 10), (5, 10), (30, 30), (86_400, 60)])
def test_it_stays_open_as_long_as_the_provider_asks_within_reason(
    breaker: Breaker, asked: float | None, due: float
) -> None:
    fail(breaker, 2)
    breaker.failed(asked)
    assert breaker.due_in == due


def test_each_model_has_its_own(clock: Clock) -> None:
    breakers = Breakers(["a", "b"], failures=1, pause=10, now=clock)
    breakers.failed("a", pause=None)
    assert breakers.states == {"a": "open", "b": "closed"}
    assert (breakers.may_ask("a"), breakers.may_ask("b")) == (False, True)
    assert (breakers.due_in("a"), breakers.due_in("b")) == (10, 0)
    clock.time += 10
    assert breakers.may_ask("a")
    breakers.succeeded("a")
    assert breakers.states == {"a": "closed", "b": "closed"}


_ROUNDING = 1e-6
"""What adding up seconds may be off by."""


class BreakerMachine(RuleBasedStateMachine):
    """Whatever happens: at most one attempt in each pause while it is not closed, and one success closes it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker(failures=3, pause=10, now=self.clock)
        self.failures = 0
        self.last_probe = 0.0

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.clock.time += seconds

    @rule()
    def ask(self) -> None:
        is_let_through = self.breaker.lets_through()
        if self.failures < 3:
            assert is_let_through
        elif is_let_through:
            assert self.clock.time - self.last_probe >= 10 - _ROUNDING
            self.last_probe = self.clock.time

    @rule()
    def succeed(self) -> None:
        self.breaker.succeeded()
        self.failures, self.last_probe = 0, 0.0

    @rule()
    def fail(self) -> None:
        self.breaker.failed()
        self.failures += 1

    @invariant()
    def closed_as_long_as_failures_are_few(self) -> None:
        assert (self.breaker.state == "closed") is (self.failures < 3)

    @invariant()
    def soon_due(self) -> None:
        assert 0 <= self.breaker.due_in <= 10 + _ROUNDING


TestBreakerMachine = BreakerMachine.TestCase
