"""The sums that all analytics are made of, and the range and buckets that they are of."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from operator import sub
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, TIMESTAMP, ColumnElement, Subquery, bindparam, func
from sqlalchemy.sql.elements import SQLCoreOperations

from app.database.repositories.usage.totals import summed


class UsageMetrics(NamedTuple):
    """Sums over rows of the ledger. Turns are questions, calls are single attempts at models."""

    turns: int = 0
    turns_failed: int = 0
    """No model answered. Of a single model it says nothing: a turn may ask several."""
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
        """Tokens of questions and of answers."""
        return self.prompt_tokens + self.completion_tokens

    def without(self, other: "UsageMetrics") -> "UsageMetrics":
        """Take those of a part away."""
        return UsageMetrics._make(map(sub, self, other))


def total(parts: Iterable[UsageMetrics]) -> UsageMetrics:
    """Add figures up."""
    return UsageMetrics._make(map(sum, zip(UsageMetrics(), *parts, strict=True)))


FROM = bindparam("p_from", type_=TIMESTAMP(timezone=True))
TO = bindparam("p_to", type_=TIMESTAMP(timezone=True))
EDGES = bindparam("p_edges", type_=ARRAY(TIMESTAMP(timezone=True)))


def within(usage: Subquery) -> ColumnElement[bool]:
    """Build the question whether sums are of the range."""
    return (usage.c.quarter >= FROM) & (usage.c.quarter < TO)


def bucket_of(moment: SQLCoreOperations[datetime]) -> ColumnElement[int]:
    """Build the number of the bucket that a moment of the range is in, from 0."""
    return func.width_bucket(moment, EDGES) - 1


def metrics_of(usage: Subquery) -> list[ColumnElement[Any]]:
    """Build the figures of rows of `usage.by_quarter` or `usage_by_user.by_user`."""
    is_answer = usage.c.purpose == "answer"
    turns, calls = summed(usage, "turns"), summed(usage, "calls")
    sums = {
        "turns": turns,
        # Not what was stopped, nor what its process left behind: no model failed there.
        "turns_failed": turns - summed(usage, "ok", is_answer) - summed(usage, "cancelled", is_answer),
        "turns_cancelled": summed(usage, "cancelled", is_answer),
        "turns_by_fallback": summed(usage, "fallback", is_answer),
        # Only answers are. Such a one is the only call of its turn.
        "turns_cached": summed(usage, "cached"),
        "calls": calls,
        "calls_failed": calls - summed(usage, "ok") - summed(usage, "cancelled"),
        "calls_estimated": summed(usage, "estimated"),
        "calls_unpriced": summed(usage, "unpriced"),
        "prompt_tokens": summed(usage, "prompt_tokens"),
        "completion_tokens": summed(usage, "completion_tokens"),
        "cost_usd": summed(usage, "cost_usd"),
    }
    return [sums[name].label(name) for name in UsageMetrics._fields]
