"""Port to the health of models, as observed in earlier attempts."""

from typing import Protocol


class ModelHealth(Protocol):
    """Health of the models in the allow-list, such as circuit breakers observe it."""

    def allow_request(self, model: str) -> bool:
        """Return whether the model may be called now. After True, the caller calls it and records the outcome."""
        ...

    def seconds_until_retry(self, model: str) -> float:
        """Return the seconds until `allow_request` may return True."""
        ...

    def record_success(self, model: str) -> None:
        """Record that the model answered."""
        ...

    def record_failure(self, model: str, *, retry_after: float | None) -> None:
        """Record that the call failed. `retry_after`: seconds to wait, as the provider asked; None: it did not."""
        ...


class AlwaysHealthy:
    """`ModelHealth` without state, which allows every request."""

    def allow_request(self, _model: str) -> bool:
        """See `ModelHealth`."""
        return True

    def seconds_until_retry(self, _model: str) -> float:
        """See `ModelHealth`."""
        return 0

    def record_success(self, model: str) -> None:
        """See `ModelHealth`."""

    def record_failure(self, model: str, *, retry_after: float | None) -> None:
        """See `ModelHealth`."""
