"""Latency percentiles of answers by bucket of a time range, and by model or provider."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import Integer, Select, Subquery, Text, cast, func, literal, null, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.selectable import CompoundSelect

from app.database.repositories.analytics import latency_histogram
from app.database.repositories.analytics.latency_histogram import PERCENTILES, Measure
from app.database.repositories.analytics.report_columns import PROVIDER, bucket_number, is_in_range

LatencyGroupBy = Literal["none", "model", "provider"]


class LatencyGroup(NamedTuple):
    """Group of answers. None: all buckets, or all models and providers."""

    bucket: int | None
    """Index from 0."""
    name: str | None
    """Model or provider, which may be `UNKNOWN_PROVIDER`."""


@dataclass(frozen=True, slots=True)
class LatencyPercentiles:
    """Number of measurements, and percentiles in milliseconds."""

    count: int = 0
    percentiles: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(PERCENTILES))


LatencyMeasurements = dict[Measure, LatencyPercentiles]
"""Percentiles by measure. Measures without measurements are left out."""


def _percentiles_statement(times: Subquery, group_by: LatencyGroupBy) -> CompoundSelect[Any]:
    columns = {"time_bucket": bucket_number(times.c.quarter)}
    if group_by != "none":
        columns["name"] = times.c[group_by]
    groups = tuple(columns)
    keys = [*(column.label(name) for name, column in columns.items()), times.c.bucket]
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
        name = rows.c.name if "name" in groups else cast(null(), Text)
        return select(literal(measure), time_bucket, name, rows.c["count"], *(rows.c[share] for share in PERCENTILES))

    return union_all(*(percentile_rows(measure, *keys) for measure in measures for keys in ((), groups)))


_OF_ALL: dict[LatencyGroupBy, CompoundSelect[Any]] = {
    "none": _percentiles_statement(latency_histogram.histogram_by_quarter(), "none"),
    "model": _percentiles_statement(latency_histogram.histogram_by_quarter(), "model"),
    "provider": _percentiles_statement(latency_histogram.histogram_by_provider(), "provider"),
}
_OF_PROVIDER: dict[LatencyGroupBy, CompoundSelect[Any]] = {
    group_by: _percentiles_statement(latency_histogram.histogram_of_provider(PROVIDER), group_by)
    for group_by in get_args(LatencyGroupBy)
}


async def percentiles_by_bucket(
    session: AsyncSession, edges: Sequence[datetime], group_by: LatencyGroupBy, *, provider: str | None = None
) -> dict[LatencyGroup, LatencyMeasurements]:
    """Return the percentiles of the whole range and of each bucket, of all answers or by model or provider.

    `provider` restricts them to one provider. Groups without measurements are left out.
    """
    statement = (_OF_ALL if provider is None else _OF_PROVIDER)[group_by]
    parameters = {"p_from": edges[0], "p_to": edges[-1], "p_edges": list(edges), "p_provider": provider}
    rows = await session.execute(statement, parameters)
    measurements: dict[LatencyGroup, LatencyMeasurements] = {}
    for measure, bucket, name, count, *percentiles in rows:
        group = measurements.setdefault(LatencyGroup(bucket, name), {})
        group[measure] = LatencyPercentiles(count, dict(zip(PERCENTILES, percentiles, strict=True)))
    return measurements
