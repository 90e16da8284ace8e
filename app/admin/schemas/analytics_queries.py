"""What the analytics take: which time, cut into what, and how much of it."""

from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints

from app.admin.analytics.time_ranges import EARLIEST, LATEST, TimeRange, start_of_quarter
from app.core.types import Instant, RequestModel, Storable
from app.database.repositories.analytics.usage_reports import Order


def _check_moment(moment: datetime) -> datetime:
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"must be from {EARLIEST:%Y} to {LATEST:%Y}")
    if moment != start_of_quarter(moment):
        raise ValueError("must be a full quarter of an hour")
    return moment


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be the name of a time zone, such as Europe/Berlin") from None
    return name


Moment = Annotated[Instant, AfterValidator(_check_moment)]
# Only what is listed begins with a capital letter: beside it may lie files that mean something else.
TimeZone = Annotated[
    str, StringConstraints(max_length=64, pattern=r"^[A-Z][A-Za-z0-9_+/-]*$"), Storable, AfterValidator(_check_zone)
]


class RangeQuery(RequestModel):
    """Which time."""

    from_: Moment | None = Field(
        None,
        alias="from",
        description="ISO 8601 with offset, a full quarter of an hour. Default: 30 days before `to`.",
        examples=["2026-11-01T00:00:00Z"],
    )
    to: Moment | None = Field(
        None,
        description="The same, and not part of the range. Default: the end of the quarter of an hour that it is now.",
        examples=["2026-12-01T00:00:00Z"],
    )
    timezone: TimeZone = Field(
        "UTC", description="By whose clocks days begin: a name of the IANA time zones.", examples=["Europe/Berlin"]
    )

    def range(self, now: datetime) -> TimeRange:
        """Return the range that is meant.

        Raises:
            UnprocessableError: it ends before it begins.

        """
        return TimeRange.of(self.from_, self.to, ZoneInfo(self.timezone), now=now)


class BucketQuery(RangeQuery):
    """Which time, cut into what."""

    bucket: Literal["hour", "day", "week"] = Field("day", description="Weeks begin on Monday.")


class LatencyQuery(BucketQuery):
    """What `/analytics/latency` takes."""

    group_by: Literal["none", "model"] = "none"


class ListQuery(RangeQuery):
    """Which time, and in which order."""

    order: Order = Field("cost", description="What there is most of comes first.")


class TopQuery(ListQuery):
    """What `/analytics/users` takes."""

    limit: int = Field(10, ge=1, le=1000, description="How many accounts; the others are summed up.")


class UsageQuery(BucketQuery):
    """What `/analytics/usage` takes."""

    group_by: Literal["none", "model", "user"] = "none"
    order: Order = Field("cost", description="Groups of which there is most come first.")
    limit: int = Field(10, ge=1, le=100, description="How many groups; the others are summed up.")


class RetentionQuery(RangeQuery):
    """What `/analytics/retention` takes."""

    cohort: Literal["week", "month"] = Field("week", description="Who registered in the same one.")
