"""How long models took, until the first token and altogether."""

from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import BigInteger, ColumnElement, Float, FromClause, Select, Subquery, cast, func, select

from app.database.repositories.usage import rollup_tables

Measure = Literal["latencies", "first_tokens"]

PERCENTILES = {"p50": Decimal("0.5"), "p90": Decimal("0.9"), "p95": Decimal("0.95"), "p99": Decimal("0.99")}


def histogram_by_quarter() -> Subquery:
    """Build how many answers took how long: by quarter of an hour, model, purpose and `bucket`, a counter a `Measure`.

    There may be two rows with the same keys: sum them up.
    """
    return rollup_tables.LATENCIES.with_pending().subquery("times")


def percentiles(times: FromClause, measure: Measure, *groups: str) -> Select[Any]:
    """Build the percentiles of a measure, in ms, for each group of rows of `histogram_by_quarter`.

    `groups` are columns of `times`, and those of the result; with `count` and `PERCENTILES`. A percentile is the
    middle of the bucket that it is in, and so at most 2.5 % from the time of which it is said, and half a ms.
    """
    by = [times.c[name] for name in groups]
    counted = (
        select(*by, times.c.bucket, func.sum(times.c[measure]).label("count"))
        .where(times.c[measure] > 0)
        .group_by(*by, times.c.bucket)
        .subquery("counted")
    )
    by = [counted.c[name] for name in groups]
    ranked = select(
        *by,
        counted.c.bucket,
        func.sum(counted.c["count"]).over(partition_by=by, order_by=counted.c.bucket).label("upto"),
        func.sum(counted.c["count"]).over(partition_by=by).label("count"),
    ).subquery("ranked")
    by = [ranked.c[name] for name in groups]

    def percentile(share: Decimal) -> ColumnElement[int]:
        return _middle(func.min(ranked.c.bucket).filter(ranked.c.upto >= share * ranked.c["count"]))

    return select(
        *by,
        cast(ranked.c["count"], BigInteger).label("count"),
        *(percentile(share).label(name) for name, share in PERCENTILES.items()),
    ).group_by(*by, ranked.c["count"])


def _middle(bucket: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.round(func.power(cast(rollup_tables.BUCKET_WIDTH, Float), bucket + 0.5)), BigInteger)
