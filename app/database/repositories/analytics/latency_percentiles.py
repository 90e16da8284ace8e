"""How long answers took, for admins."""

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
    """What percentiles are of. None: all of them."""

    bucket: int | None
    """Counted from 0."""
    model: str | None


@dataclass(frozen=True, slots=True)
class LatencyPercentiles:
    """How many were measured, and milliseconds by percentile."""

    count: int = 0
    percentiles: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(PERCENTILES))


LatencyMeasurements = dict[Measure, LatencyPercentiles]
"""Of how long models took altogether, and until the first token. What was not measured is not in it."""


def _statement(*groups: str) -> CompoundSelect[Any]:
    times = latency_histogram.histogram_by_quarter()
    columns = {"slot": bucket_number(times.c.quarter), "model": times.c.model}
    keys = [*(columns[name].label(name) for name in groups), times.c.bucket]
    measures: tuple[Measure, ...] = get_args(Measure)
    # Read once, for both measures, and for the whole as well as its parts.
    answers = (
        select(*keys, *(func.sum(times.c[name]).label(name) for name in measures))
        .where(is_in_range(times), times.c.purpose == "answer")
        .group_by(*keys)
        .cte("answers")
    )

    def part(measure: Measure, *groups: str) -> Select[Any]:
        found = latency_histogram.percentiles(answers, measure, *groups).subquery()
        slot = found.c.slot if "slot" in groups else cast(null(), Integer)
        model = found.c.model if "model" in groups else cast(null(), Text)
        return select(literal(measure), slot, model, found.c["count"], *(found.c[name] for name in PERCENTILES))

    return union_all(*(part(measure, *of) for measure in measures for of in ((), groups)))


_OF_BUCKETS = _statement("slot")
_OF_BUCKETS_AND_MODELS = _statement("slot", "model")


async def percentiles_by_bucket(
    session: AsyncSession, edges: Sequence[datetime], *, by_model: bool
) -> dict[LatencyGroup, LatencyMeasurements]:
    """Return how long answers took in the whole range and in each bucket, of all models together or of each.

    There is nothing where nothing was measured.
    """
    statement = _OF_BUCKETS_AND_MODELS if by_model else _OF_BUCKETS
    rows = await session.execute(statement, {"p_from": edges[0], "p_to": edges[-1], "p_edges": list(edges)})
    found: dict[LatencyGroup, LatencyMeasurements] = {}
    for measure, bucket, model, count, *percentiles in rows:
        measured = found.setdefault(LatencyGroup(bucket, model), {})
        measured[measure] = LatencyPercentiles(count, dict(zip(PERCENTILES, percentiles, strict=True)))
    return found
