"""Response fields that all reports share."""

from typing import Any

from app.admin.analytics.time_ranges import TimeRange
from app.database.repositories.analytics.report_columns import UsageMetrics


def report_fields(span: TimeRange) -> dict[str, Any]:
    """Return the fields of `Report`."""
    return {"from_": span.local(span.start), "to": span.local(span.end), "timezone": span.zone.key}


def usage_fields(metrics: UsageMetrics) -> dict[str, Any]:
    """Return the fields of `UsageFigures`."""
    return metrics._asdict() | {"total_tokens": metrics.total_tokens}


def rate_fields(metrics: UsageMetrics) -> dict[str, Any]:
    """Return the fields of `TurnRates`."""
    return {
        "error_rate": share(metrics.turns_failed, metrics.turns),
        "fallback_rate": share(metrics.turns_by_fallback, metrics.turns),
        "cache_hit_rate": share(metrics.turns_cached, metrics.turns),
    }


def share(part: int, whole: int) -> float:
    """Return `part` divided by `whole`, rounded to 4 digits; 0 if `whole` is 0."""
    return round(part / whole, 4) if whole else 0.0
