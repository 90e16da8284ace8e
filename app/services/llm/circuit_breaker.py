"""Breakers: a model that keeps failing is left alone for a while, so that no turn waits to find out once more."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Literal

logger = logging.getLogger(__name__)

State = Literal["closed", "open", "half_open"]

_MAX_PAUSE = 60.0
"""Seconds; providers may ask for days."""


class CircuitBreaker:
    """The breaker of one model.

    Closed, it lets every attempt through. So many failures in a row open it, and it lets none through. When its pause
    is over it is half open: one attempt, the probe, is let through in each pause, until one succeeds. Nobody has to
    give a probe back, so one that is cut short costs no more than another pause.
    """

    def __init__(self, *, failures: int, pause: float, now: Callable[[], float]) -> None:
        """`failures` in a row open it for `pause` seconds by the clock `now`."""
        self._most_failures = failures
        self._pause = pause
        self._now = now
        self._failures = 0
        self._closed_to: float | None = None
        """When the next attempt is let through. None: any time."""
        self._is_probing = False

    @property
    def state(self) -> State:
        """Closed, open or half open."""
        if self._closed_to is None:
            return "closed"
        return "half_open" if self._is_probing or self.seconds_until_retry <= 0 else "open"

    @property
    def seconds_until_retry(self) -> float:
        """Seconds until an attempt is let through."""
        return 0 if self._closed_to is None else max(self._closed_to - self._now(), 0)

    def allow_request(self) -> bool:
        """Tell whether an attempt may be made now. Once told so, a probe is taken."""
        if self._closed_to is None:
            return True
        if self.seconds_until_retry > 0:
            return False
        self._is_probing = True
        self._closed_to = self._now() + self._pause
        return True

    def record_success(self) -> None:
        """Note that an attempt succeeded: the model is well."""
        self._failures = 0
        self._closed_to = None
        self._is_probing = False

    def record_failure(self, pause: float | None = None) -> None:
        """Note that an attempt failed. `pause`: seconds that the provider asked to be left alone."""
        self._failures += 1
        if self._failures >= self._most_failures:
            self._closed_to = self._now() + max(self._pause, min(pause or 0, _MAX_PAUSE))
            self._is_probing = False


class CircuitBreakers:
    """`ModelHealth`: a breaker for each model, known to this process alone."""

    def __init__(
        self, models: Iterable[str], *, failures: int, pause: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        """See `CircuitBreaker`."""
        self._breakers = {model: CircuitBreaker(failures=failures, pause=pause, now=now) for model in models}

    @property
    def states(self) -> dict[str, State]:
        """The state of each."""
        return {model: breaker.state for model, breaker in self._breakers.items()}

    def allow_request(self, model: str) -> bool:
        """See `ModelHealth`."""
        return self._breakers[model].allow_request()

    def seconds_until_retry(self, model: str) -> float:
        """See `ModelHealth`."""
        return self._breakers[model].seconds_until_retry

    def record_success(self, model: str) -> None:
        """See `ModelHealth`."""
        breaker = self._breakers[model]
        if breaker.state != "closed":
            logger.info("model answers again", extra={"model": model})
        breaker.record_success()

    def record_failure(self, model: str, *, pause: float | None) -> None:
        """See `ModelHealth`."""
        breaker = self._breakers[model]
        was_closed = breaker.state == "closed"
        breaker.record_failure(pause)
        if was_closed and breaker.state == "open":
            logger.warning(
                "model is left alone", extra={"model": model, "seconds": round(breaker.seconds_until_retry, 3)}
            )
