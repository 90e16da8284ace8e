"""Query parameters of the analytics reports: time range, buckets, grouping, order and limit."""

from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints

from app.admin.analytics.time_ranges import EARLIEST, LATEST, TimeRange, start_of_quarter
from app.core.schema_types import Instant, RequestModel, Storable
from app.database.repositories.analytics.feedback_reports import FeedbackGroupBy
from app.database.repositories.analytics.latency_reports import LatencyGroupBy
from app.database.repositories.analytics.usage_reports import ErrorGroupBy, GroupBy, Order


def _check_moment(moment: datetime) -> datetime:
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"must be from {EARLIEST:%Y} to {LATEST:%Y}")
    if moment != start_of_quarter(moment):
        raise ValueError("must be a full quarter-hour")
    return moment


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be the name of a time zone, such as Europe/Berlin") from None
    return name


Moment = Annotated[Instant, AfterValidator(_check_moment)]
# Names of zones start with a capital letter. The directory of the time zone database may contain other files as well.
TimeZone = Annotated[
    str, StringConstraints(max_length=64, pattern=r"^[A-Z][A-Za-z0-9_+/-]*$"), Storable, AfterValidator(_check_zone)
]


class RangeQuery(RequestModel):
    """Time range of a report."""

    from_: Moment | None = Field(
        None,
        alias="from",
        description="Start, inclusive: ISO 8601 with offset, a full quarter-hour. Default: 30 days before `to`, "
        "not before 2020.",
        examples=["2026-11-01T00:00:00Z"],
    )
    to: Moment | None = Field(
        None,
        description="End, exclusive, in the same format. Default: the end of the current quarter-hour.",
        examples=["2026-12-01T00:00:00Z"],
    )
    timezone: TimeZone = Field(
        "UTC", description="IANA time zone in which days, weeks and months start.", examples=["Europe/Berlin"]
    )

    def range(self, now: datetime) -> TimeRange:
        """Return the range with defaults relative to `now`.

        Raises:
            InvalidFieldError: the start is not before the end.

        """
        return TimeRange.of(self.from_, self.to, ZoneInfo(self.timezone), now=now)


class BucketQuery(RangeQuery):
    """Time range and size of the buckets."""

    bucket: Literal["hour", "day", "week"] = Field("day", description="Size of the buckets. Weeks start on Monday.")


Provider = Annotated[str, StringConstraints(min_length=1, max_length=50), Storable]


class ProviderFilter(RequestModel):
    """Restriction of a report to one provider."""

    provider: Provider | None = Field(
        None, description="Count only calls of models of this provider.", examples=["azure"]
    )


class LatencyQuery(ProviderFilter, BucketQuery):
    """Query parameters of `/analytics/latency`."""

    group_by: LatencyGroupBy = Field("none", description="Grouping of the rows.")


class ErrorQuery(ProviderFilter, RangeQuery):
    """Query parameters of `/analytics/errors`."""

    group_by: ErrorGroupBy = Field("model", description="Grouping of the rows.")


class FeedbackQuery(BucketQuery):
    """Query parameters of `/analytics/feedback`."""

    group_by: FeedbackGroupBy = Field("none", description="Grouping of the rows.")


class ListQuery(RangeQuery):
    """Time range and order of the rows."""

    order: Order = Field("cost", description="Value by which the rows are ordered, largest first.")


class ModelQuery(ProviderFilter, ListQuery):
    """Query parameters of `/analytics/models`."""


class TopQuery(ListQuery):
    """Query parameters of `/analytics/users`."""

    limit: int = Field(10, ge=1, le=1000, description="Maximum number of accounts. The others are added up in one row.")


class UsageQuery(ProviderFilter, BucketQuery):
    """Query parameters of `/analytics/usage`. The usage of accounts is not known by provider."""

    group_by: GroupBy = Field("none", description="Grouping of the rows. Not `user` together with `provider`.")
    order: Order = Field("cost", description="Value by which groups are ordered, largest first.")
    limit: int = Field(10, ge=1, le=100, description="Maximum number of groups. The others are added up in one group.")


class RetentionQuery(RangeQuery):
    """Query parameters of `/analytics/retention`."""

    cohort: Literal["week", "month"] = Field("week", description="Period of registration that forms a cohort.")
