"""Circuit breakers of models: after repeated failures, other models are preferred for a pause."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Literal

logger = logging.getLogger(__name__)

BreakerState = Literal["closed", "open", "half_open"]

_MAX_PAUSE = 60.0
"""Maximum pause in seconds that a provider's `Retry-After` may set."""


class CircuitBreaker:
    """Circuit breaker of one model.

    Closed, it allows all requests. After a number of consecutive failures it opens, and allows none. After the pause it
    is half open: it allows one request per pause, the probe, until one succeeds. A probe without a recorded outcome
    delays the next one by a pause, and has no other effect.
    """

    def __init__(self, *, failures: int, pause: float, now: Callable[[], float]) -> None:
        """Open for `pause` seconds, by the clock `now`, after `failures` consecutive failures."""
        self._failure_threshold = failures
        self._pause = pause
        self._now = now
        self._failures = 0
        self._open_until: float | None = None
        """When the next request is allowed, by the clock. None: the breaker is closed."""
        self._is_probing = False

    @property
    def state(self) -> BreakerState:
        """The state of the breaker."""
        if self._open_until is None:
            return "closed"
        return "half_open" if self._is_probing or self.seconds_until_retry <= 0 else "open"

    @property
    def seconds_until_retry(self) -> float:
        """Seconds until a request is allowed."""
        return 0 if self._open_until is None else max(self._open_until - self._now(), 0)

    def allow_request(self) -> bool:
        """Return whether a request may be made now. When half open, True makes that request the probe."""
        if self._open_until is None:
            return True
        if self.seconds_until_retry > 0:
            return False
        self._is_probing = True
        self._open_until = self._now() + self._pause
        return True

    def record_success(self) -> None:
        """Close the breaker after a successful attempt."""
        self._failures = 0
        self._open_until = None
        self._is_probing = False

    def record_failure(self, retry_after: float | None = None) -> None:
        """Count a failed attempt. `retry_after`: seconds to wait, as the provider asked; None: it did not."""
        self._failures += 1
        if self._failures >= self._failure_threshold:
            self._open_until = self._now() + max(self._pause, min(retry_after or 0, _MAX_PAUSE))
            self._is_probing = False


class CircuitBreakers:
    """`ModelHealth` with a circuit breaker for each model, within one process."""

    def __init__(
        self, models: Mapping[str, str], *, failures: int, pause: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        """See `CircuitBreaker`. `models`: their providers, by name."""
        self._providers = dict(models)
        self._breakers = {model: CircuitBreaker(failures=failures, pause=pause, now=now) for model in models}

    @property
    def states(self) -> dict[str, BreakerState]:
        """State of each model's breaker."""
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
            logger.info("circuit breaker closed", extra=self._source(model))
        breaker.record_success()

    def record_failure(self, model: str, *, retry_after: float | None) -> None:
        """See `ModelHealth`."""
        breaker = self._breakers[model]
        was_closed = breaker.state == "closed"
        breaker.record_failure(retry_after)
        if was_closed and breaker.state == "open":
            logger.warning(
                "circuit breaker opened",
                extra=self._source(model) | {"seconds": round(breaker.seconds_until_retry, 3)},
            )

    def _source(self, model: str) -> dict[str, object]:
        return {"model": model, "provider": self._providers[model]}
