"""What all reports say in the same way."""

from typing import Any

from app.admin.analytics.time_ranges import TimeRange
from app.database.repositories.analytics.report_columns import UsageMetrics


def report_fields(span: TimeRange) -> dict[str, Any]:
    """Return the fields of `Report`."""
    return {"from_": span.local(span.start), "to": span.local(span.end), "timezone": span.zone.key}


def usage_fields(figures: UsageMetrics) -> dict[str, Any]:
    """Return the fields of `UsageFigures`."""
    return figures._asdict() | {"total_tokens": figures.total_tokens}


def rate_fields(figures: UsageMetrics) -> dict[str, Any]:
    """Return the fields of `TurnRates`."""
    return {
        "error_rate": share(figures.turns_failed, figures.turns),
        "fallback_rate": share(figures.turns_by_fallback, figures.turns),
        "cache_hit_rate": share(figures.turns_cached, figures.turns),
    }


def share(part: int, whole: int) -> float:
    """Return a part of the whole, from 0 to 1; 0 where there is no whole."""
    return round(part / whole, 4) if whole else 0.0
