"""Metrics of turns and model calls, from the entries that are written to the ledger."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Histogram

from app.database.repositories.usage.ledger import LedgerEntry
from app.observability.metrics import DURATION_BUCKETS, PREFIX, Metrics

_OTHER_MODEL: Final = "other"
_NOT_STORED: Final = "not_stored"


class TurnMetrics:
    """Counts turns and model calls of this process. The label `model` is the requested one, and in the catalog."""

    def __init__(self, metrics: Metrics, models: Iterable[str]) -> None:
        self._models = frozenset(models)

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", help_text, labels, registry=metrics.registry)

        def histogram(name: str, help_text: str, *labels: str) -> Histogram:
            return Histogram(f"{PREFIX}_{name}", help_text, labels, buckets=DURATION_BUCKETS, registry=metrics.registry)

        self._turns = counter("turns", "Turns by the status of their answer.", "status", "streamed")
        self._turn_durations = histogram("turn_duration_seconds", "Duration of turns, storing included.", "streamed")
        self._calls = counter("model_calls", "Model calls by outcome.", "model", "purpose", "outcome")
        self._errors = counter("model_errors", "Failed model calls by error code.", "model", "code")
        self._fallbacks = counter("model_fallbacks", "Calls of fallback models, by reason.", "model", "reason")
        self._cache = counter("response_cache_requests", "Answers: hit (cache or shared call) or miss.", "result")
        self._tokens = counter("model_tokens", "Tokens of all calls.", "model", "kind")
        self._cost = counter("model_cost_usd", "Cost of all calls in US dollars.", "model")
        self._unpriced = counter("model_calls_unpriced", "Calls whose price is not known.", "model")
        self._first_token = histogram("model_first_token_seconds", "Time to the first text of streamed calls.", "model")
        self._durations = histogram("model_call_duration_seconds", "Duration of model calls.", "model")

    def record_turn(self, status: str | None, calls: Iterable[LedgerEntry], *, stream: bool, seconds: float) -> None:
        """Count a turn that has ended. `status` is None if its answer could not be stored."""
        streamed = "yes" if stream else "no"
        self._turns.labels(status or _NOT_STORED, streamed).inc()
        self._turn_durations.labels(streamed).observe(seconds)
        self.record_calls(calls)

    def record_calls(self, calls: Iterable[LedgerEntry]) -> None:
        """Count model calls."""
        for call in calls:
            self._record_call(call)

    def _record_call(self, call: LedgerEntry) -> None:
        model = call.model_requested if call.model_requested in self._models else _OTHER_MODEL
        self._calls.labels(model, call.purpose, "cached" if call.is_cached else call.status).inc()
        if call.is_fallback:
            self._fallbacks.labels(model, call.fallback_reason or "unknown").inc()
        if call.status == "error":
            self._errors.labels(model, call.error_code or "unknown").inc()
        elif call.purpose == "answer" and call.status == "ok":
            self._cache.labels("hit" if call.is_cached else "miss").inc()
        self._tokens.labels(model, "prompt").inc(call.prompt_tokens)
        self._tokens.labels(model, "completion").inc(call.completion_tokens)
        if call.cost_usd is None:
            self._unpriced.labels(model).inc()
        else:
            self._cost.labels(model).inc(float(call.cost_usd))
        if call.is_cached:
            return
        self._durations.labels(model).observe(call.latency_ms / 1000)
        if call.first_token_ms is not None:
            self._first_token.labels(model).observe(call.first_token_ms / 1000)
