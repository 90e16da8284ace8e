"""Resources of processes over time, and whether they grow."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

WARM_UP = 1 / 3
"""Share of the samples in which pools and caches fill."""
ALLOWED_GROWTH = {
    "megabytes": 15.0,
    "megabytes, largest": 5.0,
    "descriptors": 8.0,
    "tasks": 8.0,
    "threads": 4.0,
    "connections": 4.0,
}
"""Growth between the medians of the first and the last third of the samples after the warm-up."""


@dataclass
class Series:
    """Samples of one resource of one process."""

    process: str
    resource: str
    samples: list[tuple[float, float]] = field(default_factory=list)
    """Monotonic time in seconds, and value."""

    @property
    def steady(self) -> list[tuple[float, float]]:
        """The samples after the warm-up."""
        return self.samples[int(len(self.samples) * WARM_UP) :]

    @property
    def slope(self) -> float:
        """Linear regression of the steady samples: growth per hour."""
        times, values = zip(*self.steady, strict=True)
        return statistics.linear_regression(times, values).slope * 3600

    @property
    def growth(self) -> float:
        """Difference between the medians of the last and the first third of the steady samples."""
        values = [value for _, value in self.steady]
        third = max(len(values) // 3, 1)
        return statistics.median(values[-third:]) - statistics.median(values[:third])

    @property
    def is_flat(self) -> bool:
        return self.growth <= ALLOWED_GROWTH[self.resource]

    def row(self) -> list[str]:
        """Return the cells of the table."""
        values = [value for _, value in self.steady]
        figures = (values[0], values[-1], max(values), self.growth, self.slope)
        return [self.process, self.resource, *(f"{figure:.1f}" for figure in figures)]


HEADINGS = ["process", "resource", "first", "last", "highest", "growth", "slope per hour"]


class Recorder:
    """Takes samples of all processes."""

    def __init__(self, read: Callable[[], Mapping[str, Mapping[str, float]]]) -> None:
        """`read` returns the current values by process and resource."""
        self._read = read
        self._series: dict[tuple[str, str], Series] = {}

    def sample(self) -> None:
        """Add the current values."""
        now = time.monotonic()
        for process, values in self._read().items():
            for resource, value in values.items():
                series = self._series.setdefault((process, resource), Series(process, resource))
                series.samples.append((now, value))

    @property
    def series(self) -> list[Series]:
        return list(self._series.values())
