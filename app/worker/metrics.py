"""Metrics of the jobs of a worker."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.observability.metrics import PREFIX
from app.worker.periodic_job import Job


@dataclass(frozen=True, slots=True, eq=False)
class JobCollector:
    """Reads the statistics of the jobs of this worker when metrics are requested."""

    jobs: Sequence[Job]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; see `prometheus_client.registry.Collector`."""
        runs = CounterMetricFamily(f"{PREFIX}_job_runs", "Runs of a job, failed ones included.", labels=["job"])
        failures = CounterMetricFamily(f"{PREFIX}_job_failures", "Failed runs of a job.", labels=["job"])
        items = CounterMetricFamily(f"{PREFIX}_job_items", "Items that a job has processed.", labels=["job"])
        duration = GaugeMetricFamily(
            f"{PREFIX}_job_last_duration_seconds", "Duration of the last successful run.", labels=["job"]
        )
        success = GaugeMetricFamily(
            f"{PREFIX}_job_last_success_timestamp_seconds", "End of the last successful run.", labels=["job"]
        )
        for job in self.jobs:
            stats, labels = job.stats, [job.name]
            runs.add_metric(labels, stats.runs)
            failures.add_metric(labels, stats.failures)
            items.add_metric(labels, stats.handled)
            if stats.finished_at is not None:
                duration.add_metric(labels, stats.last_duration)
                success.add_metric(labels, time.time() - (time.monotonic() - stats.finished_at))
        yield from (runs, failures, items, duration, success)
