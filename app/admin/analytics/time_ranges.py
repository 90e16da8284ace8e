"""Which time figures are asked for, and how the clocks of a time zone cut it into hours, days, weeks and months."""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Literal, Self
from zoneinfo import ZoneInfo

from app.core.exceptions import InvalidFieldError

Bucket = Literal["hour", "day", "week", "month"]

QUARTER = timedelta(minutes=15)
"""What figures are summed up by: every hour of every time zone begins with one."""
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
MAX_BUCKETS = 1000
MAX_ROWS = 11_000
"""As many as those buckets of ten groups and of what is in none."""
_DEFAULT_LENGTH = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A half-open stretch of time, from quarter hour to quarter hour, in UTC."""

    start: datetime
    end: datetime
    zone: ZoneInfo
    """By whose clocks days and weeks begin."""

    @classmethod
    def of(cls, start: datetime | None, end: datetime | None, zone: ZoneInfo, *, now: datetime) -> Self:
        """Complete what was asked for: without an end up to the quarter hour that is not over yet, 30 days long.

        Raises:
            InvalidFieldError: it would end before it begins.

        """
        end = (end or start_of_quarter(now) + QUARTER).astimezone(UTC)
        start = (start or max(end - _DEFAULT_LENGTH, EARLIEST)).astimezone(UTC)
        if start >= end:
            raise InvalidFieldError("query.from", "range", "must be before `to`")
        return cls(start, end, zone)

    def before(self) -> Self:
        """Return the range of the same length that ends where this one begins."""
        return type(self)(self.start - (self.end - self.start), self.start, self.zone)

    def from_beginning_of(self, bucket: Literal["week", "month"]) -> Self:
        """Return the range with its first week or month made whole."""
        start = self.local(self.start)
        days_into = start.weekday() if bucket == "week" else start.day - 1
        return type(self)(_midnight(start, -days_into), self.end, self.zone)

    def local(self, moment: datetime) -> datetime:
        """Return the moment by the clocks of the zone."""
        return moment.astimezone(self.zone)

    def edges(self, bucket: Bucket) -> list[datetime]:
        """Return where buckets begin, and last where the range ends. The first and the last may be cut short.

        Days are those of the calendar: 23 or 25 hours long when clocks change. Weeks begin on Monday.

        Raises:
            InvalidFieldError: there are too many.

        """
        edges = list(self._beginnings(bucket))
        if len(edges) > MAX_BUCKETS:
            raise InvalidFieldError(
                "query.bucket", "too_many_buckets", f"must not cut the range into more than {MAX_BUCKETS} pieces"
            )
        return [*edges, self.end]

    def local_buckets(self, edges: list[datetime]) -> list[tuple[datetime, datetime]]:
        """Return beginning and end of each bucket, by the clocks of the zone."""
        return list(pairwise(map(self.local, edges)))

    def _beginnings(self, bucket: Bucket) -> Iterator[datetime]:
        edge = self.start
        for _ in range(MAX_BUCKETS + 1):
            if edge >= self.end:
                return
            yield edge
            edge = _after(edge.astimezone(self.zone), bucket)


def start_of_quarter(moment: datetime) -> datetime:
    """Return the beginning of the quarter hour."""
    return moment - (moment - EARLIEST) % QUARTER


def _after(local: datetime, bucket: Bucket) -> datetime:
    match bucket:
        case "hour":
            # Of real time: clocks are changed when an hour of theirs is over.
            return local.astimezone(UTC) + timedelta(minutes=60 - local.minute)
        case "day":
            return _midnight(local, 1)
        case "week":
            return _midnight(local, 7 - local.weekday())
        case "month":
            return _midnight(local, monthrange(local.year, local.month)[1] - local.day + 1)


def _midnight(local: datetime, days: int) -> datetime:
    # Where clocks skip midnight, this is the moment at which they do; where they show it twice, the first time.
    return datetime.combine(local.date() + timedelta(days=days), time.min, local.tzinfo).astimezone(UTC)
