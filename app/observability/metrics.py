"""Metrics of a process in the format of Prometheus: its registry, and the state that it also reports to admins."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

PREFIX: Final = "chatbot"
"""Prefix of the names of all metrics of this project."""
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of durations in seconds, up to the longest stream."""

StateReader = Callable[[], Mapping[str, Any]]
"""Returns the state of the process as JSON data, by name; see `app.services.heartbeat`."""

_BREAKER_STATES: Final = ("closed", "open", "half_open")


class Metrics:
    """Registry of one process. Metrics are registered with it where they are counted."""

    def __init__(self, *, service: str, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        info = Info(f"{PREFIX}_build", "Service and version of this process.", registry=self.registry)
        info.info({"service": service, "version": version})

    def render(self) -> bytes:
        """Return all metrics as text of `CONTENT_TYPE`."""
        return generate_latest(self.registry)


@dataclass(frozen=True, slots=True, eq=False)
class StateCollector:
    """Reads gauges from the state of the process when metrics are requested, so that nothing is counted twice.

    Known names have a metric of their own. Any other number is the gauge `chatbot_NAME`, any other mapping of numbers
    the gauge `chatbot_NAME` with the label `state`.
    """

    read_state: StateReader

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; see `prometheus_client.registry.Collector`."""
        for name, value in self.read_state().items():
            read = _READERS.get(name)
            yield from read(value) if read is not None else _read_numbers(name, value)


def _read_connections(value: Mapping[str, int]) -> Iterator[Metric]:
    metric = GaugeMetricFamily(
        f"{PREFIX}_database_connections",
        "PostgreSQL connections of this process, in use and free, and their maximum.",
        labels=["state"],
    )
    for state, number in value.items():
        metric.add_metric([state], number)
    yield metric


def _read_requests(value: Mapping[str, Any]) -> Iterator[Metric]:
    all_requests = GaugeMetricFamily(
        f"{PREFIX}_requests",
        "Requests that run and wait in this process, their limits, and refused ones.",
        labels=["state"],
    )
    expensive = GaugeMetricFamily(
        f"{PREFIX}_expensive_requests",
        "The same of expensive requests, such as reports and searches.",
        labels=["state"],
    )
    for metric, numbers in ((all_requests, value), (expensive, value["expensive"])):
        for state, number in numbers.items():
            if isinstance(number, int | float):
                metric.add_metric([state], number)
        yield metric


def _read_hashing(value: Mapping[str, int]) -> Iterator[Metric]:
    metric = GaugeMetricFamily(
        f"{PREFIX}_hashing",
        "Requests that hash a password or wait for it in this process, their limits, and refused ones.",
        labels=["state"],
    )
    for state, number in value.items():
        metric.add_metric([state], number)
    yield metric


def _read_redis(value: Mapping[str, bool | int]) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        f"{PREFIX}_redis_unavailable", "1 while the circuit breaker of Redis is open.", value=int(value["is_away"])
    )
    yield CounterMetricFamily(f"{PREFIX}_redis_outages", "Outages of Redis.", value=value["outages"])


def _read_breakers(value: Mapping[str, str]) -> Iterator[Metric]:
    metric = GaugeMetricFamily(
        f"{PREFIX}_model_breaker_state",
        "1 for the state of the circuit breaker of a model, 0 for the others.",
        labels=["model", "state"],
    )
    for model, current in value.items():
        for state in _BREAKER_STATES:
            metric.add_metric([model, state], int(state == current))
    yield metric


def _read_parameter_changes(value: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    metric = GaugeMetricFamily(
        f"{PREFIX}_model_parameter_changes",
        "Parameters that are renamed or not sent, because the model does not support them.",
        labels=["model"],
    )
    for model, changes in value.items():
        metric.add_metric([model], len(changes))
    yield metric


def _read_deliveries(value: Mapping[str, int]) -> Iterator[Metric]:
    yield _gauge("webhook_deliveries_in_progress", "Webhook deliveries that this worker is sending.")(
        value["under_way"]
    )
    metric = CounterMetricFamily(
        f"{PREFIX}_webhook_attempts", "Attempts to deliver an event to a receiver.", labels=["outcome"]
    )
    for outcome, number in value.items():
        if outcome != "under_way":
            metric.add_metric([outcome], number)
    yield metric


def _gauge(name: str, help_text: str) -> Callable[[float], Metric]:
    return lambda value: GaugeMetricFamily(f"{PREFIX}_{name}", help_text, value=value)


def _reader(name: str, help_text: str) -> Callable[[Any], Iterator[Metric]]:
    return lambda value: iter((_gauge(name, help_text)(value),))


_READERS: Final[Mapping[str, Callable[[Any], Iterator[Metric]]]] = {
    "database": _read_connections,
    "requests": _read_requests,
    "hashing": _read_hashing,
    "redis": _read_redis,
    "models": _read_breakers,
    "model_parameters": _read_parameter_changes,
    "webhooks": _read_deliveries,
    "turns": _reader("turns_in_progress", "Turns that run in this process."),
    "questions": _reader("questions_in_progress", "Questions without event stream whose clients wait."),
    "streams": _reader("streams_open", "Open event streams of this process."),
    "searches": _reader("searches_in_progress", "Searches in progress in this process."),
    "imports": _reader("imports_in_progress", "Imports in progress in this process."),
}


def _read_numbers(name: str, value: object) -> Iterator[Metric]:
    help_text = f"Statistic {name} of this process."
    if isinstance(value, int | float):
        yield _gauge(name, help_text)(value)
    elif isinstance(value, Mapping):
        metric = GaugeMetricFamily(f"{PREFIX}_{name}", help_text, labels=["state"])
        for state, number in value.items():
            if isinstance(number, int | float):
                metric.add_metric([str(state)], number)
        if metric.samples:
            yield metric
