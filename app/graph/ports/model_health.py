"""Port to the health of models, as earlier attempts have shown it."""

from typing import Protocol


class ModelHealth(Protocol):
    """The port to what is known of models from earlier attempts. Only models of the allow-list are asked about."""

    def allow_request(self, model: str) -> bool:
        """Tell whether a model is worth asking now. Whoever is told so asks it, and says how it went."""
        ...

    def seconds_until_retry(self, model: str) -> float:
        """Return in how many seconds it will be."""
        ...

    def record_success(self, model: str) -> None:
        """Note that a model answered."""
        ...

    def record_failure(self, model: str, *, pause: float | None) -> None:
        """Note that it did not. `pause`: seconds that the provider asked to be left alone."""
        ...


class AlwaysHealthy:
    """`ModelHealth` that knows nothing: every model is worth asking."""

    def allow_request(self, _model: str) -> bool:
        """See `ModelHealth`."""
        return True

    def seconds_until_retry(self, _model: str) -> float:
        """See `ModelHealth`."""
        return 0

    def record_success(self, model: str) -> None:
        """See `ModelHealth`."""

    def record_failure(self, model: str, *, pause: float | None) -> None:
        """See `ModelHealth`."""
