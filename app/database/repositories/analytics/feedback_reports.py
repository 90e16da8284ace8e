"""Ratings of answers by bucket of a time range, and by model or reason."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, CompoundSelect, Integer, Text, cast, func, null, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.models import FeedbackQuarter
from app.database.repositories.analytics.report_columns import bucket_number, is_in_range
from app.database.repositories.chat.feedback import ALL_REASONS

FeedbackGroupBy = Literal["none", "model", "reason"]


class FeedbackGroup(NamedTuple):
    """Group of ratings."""

    bucket: int | None
    """Index from 0. None: all buckets."""
    name: str | None
    """Model or reason. None: all, or answers whose model is not known."""


class RatingCounts(NamedTuple):
    """Numbers of ratings."""

    up: int = 0
    down: int = 0


def _statement(group_by: FeedbackGroupBy) -> CompoundSelect[Any]:
    counted = select(FeedbackQuarter).subquery("counted")
    sums = [
        cast(func.coalesce(func.sum(counted.c.ratings).filter(counted.c.rating == rating), 0), BigInteger)
        for rating in RatingCounts._fields
    ]
    is_total = counted.c.reason == ALL_REASONS
    bucket = bucket_number(counted.c.quarter)
    name: ColumnElement[Any]
    match group_by:
        case "none":
            name = cast(null(), Text)
        case "model":
            name = func.nullif(counted.c.model, "")
        case "reason":
            name = counted.c.reason
    groups = (
        select(bucket.label("bucket"), name.label("name"), *sums)
        .where(is_in_range(counted), ~is_total if group_by == "reason" else is_total)
        .group_by("bucket", "name")
    )
    total = select(cast(null(), Integer), cast(null(), Text), *sums).where(is_in_range(counted), is_total)
    return union_all(groups, total)


_STATEMENTS: dict[FeedbackGroupBy, CompoundSelect[Any]] = {
    "none": _statement("none"),
    "model": _statement("model"),
    "reason": _statement("reason"),
}


async def ratings_by_bucket(
    session: AsyncSession, edges: Sequence[datetime], group_by: FeedbackGroupBy
) -> dict[FeedbackGroup, RatingCounts]:
    """Return the ratings of the whole range, and those of each bucket and group. Groups without any are left out."""
    parameters = {"p_from": edges[0], "p_to": edges[-1], "p_edges": list(edges)}
    rows = await session.execute(_STATEMENTS[group_by], parameters)
    return {FeedbackGroup(bucket, name): RatingCounts(up, down) for bucket, name, up, down in rows}
