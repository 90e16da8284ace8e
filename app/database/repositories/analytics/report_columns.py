"""Columns and conditions that all analytics queries share: usage metrics, time range and buckets."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from operator import sub
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, TIMESTAMP, ColumnElement, Subquery, Text, bindparam, func
from sqlalchemy.sql.elements import SQLCoreOperations

from app.database.repositories.usage.exact_usage import sum_counter


class UsageMetrics(NamedTuple):
    """Totals of ledger rows. A turn is a question, a call is one attempt at a model call."""

    turns: int = 0
    turns_failed: int = 0
    """Turns whose attempts all failed. Meaningless for a single model, because a turn may call several."""
    turns_cancelled: int = 0
    turns_by_fallback: int = 0
    turns_cached: int = 0
    calls: int = 0
    calls_failed: int = 0
    calls_estimated: int = 0
    calls_unpriced: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    @property
    def total_tokens(self) -> int:
        """Sum of prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    def minus(self, other: "UsageMetrics") -> "UsageMetrics":
        """Return the metrics without those of `other`."""
        return UsageMetrics._make(map(sub, self, other))


def sum_metrics(parts: Iterable[UsageMetrics]) -> UsageMetrics:
    """Return the sum of metrics."""
    return UsageMetrics._make(map(sum, zip(UsageMetrics(), *parts, strict=True)))


FROM = bindparam("p_from", type_=TIMESTAMP(timezone=True))
TO = bindparam("p_to", type_=TIMESTAMP(timezone=True))
PROVIDER = bindparam("p_provider", type_=Text)
EDGES = bindparam("p_edges", type_=ARRAY(TIMESTAMP(timezone=True)))


def is_in_range(usage: Subquery) -> ColumnElement[bool]:
    """Build the condition that rows lie in the time range."""
    return (usage.c.quarter >= FROM) & (usage.c.quarter < TO)


def bucket_number(moment: SQLCoreOperations[datetime]) -> ColumnElement[int]:
    """Build the index, from 0, of the bucket that contains a moment of the time range."""
    return func.width_bucket(moment, EDGES) - 1


def metric_columns(usage: Subquery) -> list[ColumnElement[Any]]:
    """Build the columns of `UsageMetrics` from rows of `usage_by_quarter` or `usage_by_user`."""
    is_answer = usage.c.purpose == "answer"
    turns, calls = sum_counter(usage, "turns"), sum_counter(usage, "calls")
    sums = {
        "turns": turns,
        # Cancelled and abandoned turns do not count as failed: no model failed.
        "turns_failed": turns - sum_counter(usage, "ok", is_answer) - sum_counter(usage, "cancelled", is_answer),
        "turns_cancelled": sum_counter(usage, "cancelled", is_answer),
        "turns_by_fallback": sum_counter(usage, "fallback", is_answer),
        # Only answers are cached, and only the last call of a turn can be a cached one.
        "turns_cached": sum_counter(usage, "cached"),
        "calls": calls,
        "calls_failed": calls - sum_counter(usage, "ok") - sum_counter(usage, "cancelled"),
        "calls_estimated": sum_counter(usage, "estimated"),
        "calls_unpriced": sum_counter(usage, "unpriced"),
        "prompt_tokens": sum_counter(usage, "prompt_tokens"),
        "completion_tokens": sum_counter(usage, "completion_tokens"),
        "cost_usd": sum_counter(usage, "cost_usd"),
    }
    return [sums[name].label(name) for name in UsageMetrics._fields]
