"""Table of the metrics, from the calls that create them."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.observability.metrics import PREFIX
from docs.generator.markdown import code, codes, source_link, table, with_blocks
from docs.generator.paths import REFERENCE
from docs.generator.source import called_name, calls, constant, keyword, modules, nodes

PAGE = REFERENCE / "metrics.md"
_TYPES = {
    "Counter": "counter",
    "CounterMetricFamily": "counter",
    "Gauge": "gauge",
    "GaugeMetricFamily": "gauge",
    "counter": "counter",
    "histogram": "histogram",
    "_gauge": "gauge",
    "_reader": "gauge",
    "Histogram": "histogram",
    "Info": "info",
}

_WITH_PREFIX = {"counter", "histogram", "_gauge", "_reader"}
"""Functions of the modules that add the prefix of the project."""


@dataclass(frozen=True)
class MetricEntry:
    """A metric as Prometheus reads it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    source: Path


@cache
def metrics() -> tuple[MetricEntry, ...]:
    """Return the metrics of all services, sorted by name."""
    found = [entry for path in modules("app") for call in calls(path) if (entry := _entry(call, path)) is not None]
    return tuple(sorted({entry.name: entry for entry in found}.values(), key=lambda entry: entry.name))


def _entry(call: ast.Call, path: Path) -> MetricEntry | None:
    kind = _TYPES.get(called_name(call))
    if kind is None or len(call.args) < 2 or (help_text := constant(call.args[1])) is None:  # noqa: PLR2004 - name, help
        return None
    name = _name(call.args[0], has_prefix=called_name(call) in _WITH_PREFIX)
    if name is None:
        return None
    suffix = {"counter": "_total", "info": "_info"}.get(kind, "")
    labels: ast.expr | None = call.args[2] if len(call.args) > 2 else keyword(call, "labels")  # noqa: PLR2004 - as above
    if called_name(call) in {"counter", "histogram"}:
        labels = ast.Tuple(call.args[2:])
    return MetricEntry(name + suffix, kind, tuple(_labels(labels, path)), help_text, path)


def _name(node: ast.expr, *, has_prefix: bool) -> str | None:
    if isinstance(node, ast.JoinedStr):
        if any(isinstance(value, ast.FormattedValue) and ast.unparse(value.value) != "PREFIX" for value in node.values):
            return None
        return "".join(constant(value) or PREFIX for value in node.values)
    text = constant(node)
    return f"{PREFIX}_{text}" if text and has_prefix else None


def _labels(node: ast.expr | None, path: Path) -> list[str]:
    if isinstance(node, ast.List | ast.Tuple):
        return [text for each in node.elts if (text := constant(each))]
    if isinstance(node, ast.Subscript):
        node = node.value
        shown = _labels(node, path)
        return shown[:2]
    if isinstance(node, ast.Name):
        for statement in nodes(path):
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == node.id:
                return _labels(statement.value, path)
    return []


def documents() -> dict[Path, str]:
    """Return the page with its table."""
    rows = [
        (
            code(entry.name),
            entry.kind,
            codes(entry.labels),
            entry.meaning,
            source_link(entry.source, PAGE, entry.source.name),
        )
        for entry in metrics()
    ]
    return {PAGE: with_blocks(PAGE, {"metrics": table(("Metric", "Type", "Labels", "Meaning", "Source"), rows)})}
