"""Choice of the requests that are traced. Only imported when traces are exported."""

from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult, TraceIdRatioBased


class RandomSampler(Sampler):
    """Samples a fraction of the requests at random.

    `TraceIdRatioBased` decides by the trace id, which a client may choose in the header `traceparent`.
    """

    def __init__(self, ratio: float) -> None:
        """`ratio`: fraction of the requests, from 0 to 1."""
        self._by_id = TraceIdRatioBased(ratio)
        self._ids = RandomIdGenerator()

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,  # noqa: ARG002 - chosen by the client
        name: str,
        *arguments: Any,  # noqa: ANN401 - passed on
        **options: Any,  # noqa: ANN401 - passed on
    ) -> SamplingResult:
        """Decide for a span; see `Sampler`."""
        return self._by_id.should_sample(parent_context, self._ids.generate_trace_id(), name, *arguments, **options)

    def get_description(self) -> str:
        """Return the name of the sampler with its ratio."""
        return f"RandomSampler{{{self._by_id.rate}}}"
