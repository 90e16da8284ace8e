"""Time ranges of reports, and their buckets: hours, days, weeks and months in a time zone."""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import islice, pairwise
from typing import Literal, Self
from zoneinfo import ZoneInfo

from app.core.exceptions import InvalidFieldError

Bucket = Literal["hour", "day", "week", "month"]

QUARTER = timedelta(minutes=15)
"""Granularity of the roll-ups. Hours start at a quarter-hour in every time zone."""
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""Bounds of the start and the end of a range."""
MAX_BUCKETS = 1000
"""Maximum number of buckets in a report."""
MAX_ROWS = 11_000
"""Maximum number of rows in a report: `MAX_BUCKETS` buckets of ten groups and the remainder."""
_DEFAULT_LENGTH = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Half-open time range in UTC. Both ends are full quarter-hours."""

    start: datetime
    end: datetime
    zone: ZoneInfo
    """Time zone in which days, weeks and months start."""

    @classmethod
    def of(cls, start: datetime | None, end: datetime | None, zone: ZoneInfo, *, now: datetime) -> Self:
        """Return the range. None: the default of `RangeQuery`.

        Raises:
            InvalidFieldError: the start is not before the end.

        """
        end = (end or start_of_quarter(now) + QUARTER).astimezone(UTC)
        start = (start or max(end - _DEFAULT_LENGTH, EARLIEST)).astimezone(UTC)
        if start >= end:
            raise InvalidFieldError("query.from", "range", "must be before `to`")
        return cls(start, end, zone)

    def previous(self) -> Self:
        """Return the range of the same length that ends where this one starts."""
        return type(self)(self.start - (self.end - self.start), self.start, self.zone)

    def extended_to_start_of(self, bucket: Literal["week", "month"]) -> Self:
        """Return the range with its start moved back to the start of its week or month."""
        start = self.local(self.start)
        days_into = start.weekday() if bucket == "week" else start.day - 1
        return type(self)(_midnight(start, -days_into), self.end, self.zone)

    def local(self, moment: datetime) -> datetime:
        """Return the moment in the time zone of the range."""
        return moment.astimezone(self.zone)

    def edges(self, bucket: Bucket) -> list[datetime]:
        """Return the starts of the buckets, followed by the end of the range. The first and last may be partial.

        Days are calendar days, with 23 or 25 hours when clocks change. Weeks start on Monday.

        Raises:
            InvalidFieldError: there are more than `MAX_BUCKETS` buckets.

        """
        edges = self.edges_within(bucket, MAX_BUCKETS)
        if edges is None:
            raise InvalidFieldError(
                "query.bucket", "too_many_buckets", f"must not divide the range into more than {MAX_BUCKETS} buckets"
            )
        return edges

    def edges_within(self, bucket: Bucket, maximum: int) -> list[datetime] | None:
        """Return the edges as `edges`. None: there are more than `maximum` buckets."""
        starts = list(islice(self._bucket_starts(bucket), maximum + 1))
        return None if len(starts) > maximum else [*starts, self.end]

    def local_buckets(self, edges: list[datetime]) -> list[tuple[datetime, datetime]]:
        """Return the start and the end of each bucket in the time zone of the range."""
        return list(pairwise(map(self.local, edges)))

    def _bucket_starts(self, bucket: Bucket) -> Iterator[datetime]:
        edge = self.start
        while edge < self.end:
            yield edge
            edge = _next_start(edge.astimezone(self.zone), bucket)


def start_of_quarter(moment: datetime) -> datetime:
    """Return the start of the quarter-hour that contains `moment`."""
    return moment - (moment - EARLIEST) % QUARTER


def _next_start(local: datetime, bucket: Bucket) -> datetime:
    match bucket:
        case "hour":
            # In UTC, because local time is ambiguous when clocks change. They change at a full local hour.
            return local.astimezone(UTC) + timedelta(minutes=60 - local.minute)
        case "day":
            return _midnight(local, 1)
        case "week":
            return _midnight(local, 7 - local.weekday())
        case "month":
            return _midnight(local, monthrange(local.year, local.month)[1] - local.day + 1)


def _midnight(local: datetime, days: int) -> datetime:
    # If a clock change skips midnight, the result is the moment of the change; if midnight occurs twice, the first one.
    return datetime.combine(local.date() + timedelta(days=days), time.min, local.tzinfo).astimezone(UTC)
