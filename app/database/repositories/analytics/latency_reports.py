"""Latency percentiles of answers by bucket of a time range and by model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, get_args

from sqlalchemy import Integer, Select, Text, cast, func, literal, null, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.selectable import CompoundSelect

from app.database.repositories.analytics import latency_histogram
from app.database.repositories.analytics.latency_histogram import PERCENTILES, Measure
from app.database.repositories.analytics.report_columns import bucket_number, is_in_range


class LatencyGroup(NamedTuple):
    """Group of answers. None: all buckets, or all models."""

    bucket: int | None
    """Index from 0."""
    model: str | None


@dataclass(frozen=True, slots=True)
class LatencyPercentiles:
    """Number of measurements, and percentiles in milliseconds."""

    count: int = 0
    percentiles: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(PERCENTILES))


LatencyMeasurements = dict[Measure, LatencyPercentiles]
"""Percentiles by measure. Measures without measurements are left out."""


def _percentiles_statement(*groups: str) -> CompoundSelect[Any]:
    times = latency_histogram.histogram_by_quarter()
    columns = {"time_bucket": bucket_number(times.c.quarter), "model": times.c.model}
    keys = [*(columns[name].label(name) for name in groups), times.c.bucket]
    measures: tuple[Measure, ...] = get_args(Measure)
    # Read once for both measures, and for the totals as well as the groups.
    answers = (
        select(*keys, *(func.sum(times.c[name]).label(name) for name in measures))
        .where(is_in_range(times), times.c.purpose == "answer")
        .group_by(*keys)
        .cte("answers")
    )

    def percentile_rows(measure: Measure, *groups: str) -> Select[Any]:
        rows = latency_histogram.percentiles(answers, measure, *groups).subquery()
        time_bucket = rows.c.time_bucket if "time_bucket" in groups else cast(null(), Integer)
        model = rows.c.model if "model" in groups else cast(null(), Text)
        return select(literal(measure), time_bucket, model, rows.c["count"], *(rows.c[name] for name in PERCENTILES))

    return union_all(*(percentile_rows(measure, *keys) for measure in measures for keys in ((), groups)))


_BY_BUCKET = _percentiles_statement("time_bucket")
_BY_BUCKET_AND_MODEL = _percentiles_statement("time_bucket", "model")


async def percentiles_by_bucket(
    session: AsyncSession, edges: Sequence[datetime], *, by_model: bool
) -> dict[LatencyGroup, LatencyMeasurements]:
    """Return the percentiles of the whole range and of each bucket, over all models or by model.

    Groups without measurements are left out.
    """
    statement = _BY_BUCKET_AND_MODEL if by_model else _BY_BUCKET
    rows = await session.execute(statement, {"p_from": edges[0], "p_to": edges[-1], "p_edges": list(edges)})
    measurements: dict[LatencyGroup, LatencyMeasurements] = {}
    for measure, bucket, model, count, *percentiles in rows:
        group = measurements.setdefault(LatencyGroup(bucket, model), {})
        group[measure] = LatencyPercentiles(count, dict(zip(PERCENTILES, percentiles, strict=True)))
    return measurements
