"""Time ranges of reports and their buckets."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import get_args
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admin.analytics.time_ranges import MAX_BUCKETS, QUARTER, Bucket, TimeRange, start_of_quarter
from app.core.exceptions import UnprocessableError
from tests.admin.conftest import ReportClient
from tests.fixtures.services import assert_problem

ZONES = sorted(available_timezones() - {"localtime"})
MINUTES = st.integers(0, 20 * 365 * 24 * 4).map(lambda quarters: datetime(2020, 1, 1, tzinfo=UTC) + quarters * QUARTER)
RANGES = st.builds(
    lambda start, length, zone: TimeRange(start, start + length * QUARTER, ZoneInfo(zone)),
    MINUTES,
    st.integers(1, 3000),
    st.sampled_from(ZONES),
)


def local(zone: str, text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def hours(zone: str, start: str, end: str, bucket: Bucket) -> list[float]:
    """Return the length of each bucket in hours."""
    edges = TimeRange(local(zone, start).astimezone(UTC), local(zone, end).astimezone(UTC), ZoneInfo(zone)).edges(
        bucket
    )
    return [(after - before) / timedelta(hours=1) for before, after in pairwise(edges)]


@pytest.mark.parametrize(
    ("zone", "start", "end", "expected"),
    [
        ("UTC", "2026-10-24", "2026-10-27", [24, 24, 24]),
        ("Europe/Berlin", "2026-10-24", "2026-10-27", [24, 25, 24]),
        ("Europe/Berlin", "2026-03-28", "2026-03-31", [24, 23, 24]),
        ("America/New_York", "2026-10-31", "2026-11-03", [24, 25, 24]),
        ("Australia/Lord_Howe", "2026-10-03", "2026-10-06", [24, 23.5, 24]),
        ("Asia/Kolkata", "2026-10-24", "2026-10-26", [24, 24]),
        ("Asia/Kathmandu", "2026-10-24", "2026-10-26", [24, 24]),
        # Clock changes that skip or repeat midnight.
        ("Africa/Cairo", "2026-04-23", "2026-04-26", [24, 23, 24]),
        ("America/Havana", "2026-10-31", "2026-11-03", [24, 25, 24]),
        ("Europe/Berlin", "2026-10-24T18:15", "2026-10-25T03:30", [5.75, 4.5]),
    ],
)
def test_days_are_calendar_days_when_clocks_change(zone: str, start: str, end: str, expected: list[float]) -> None:
    assert hours(zone, start, end, "day") == expected


def test_weeks_start_on_monday_and_months_on_the_first() -> None:
    assert hours("Europe/Berlin", "2026-10-21", "2026-11-04", "week") == [5 * 24 + 1, 7 * 24, 2 * 24]
    assert hours("Europe/Berlin", "2026-01-31", "2026-04-02", "month") == [24, 28 * 24, 31 * 24 - 1, 24]


def test_hours_follow_local_time() -> None:
    assert hours("Asia/Kathmandu", "2026-10-24T00:30", "2026-10-24T03:15", "hour") == [0.5, 1, 1, 0.25]
    assert hours("Europe/Berlin", "2026-10-25T01:00", "2026-10-25T04:00", "hour") == [1, 1, 1, 1]
    assert hours("Australia/Lord_Howe", "2026-10-04T01:00", "2026-10-04T04:00", "hour") == [1, 0.5, 1]


@given(RANGES, st.sampled_from(get_args(Bucket)))
def test_buckets_cover_the_range_and_end_at_local_boundaries(of: TimeRange, bucket: Bucket) -> None:
    edges = of.edges(bucket)
    assert (edges[0], edges[-1]) == (of.start, of.end)
    assert all(before < after for before, after in pairwise(edges))
    assert all(start_of_quarter(edge) == edge for edge in edges)
    for edge in edges[1:-1]:
        before, after = of.local(edge - timedelta(microseconds=1)), of.local(edge)
        match bucket:
            case "hour":
                assert (before.date(), before.hour, before.utcoffset()) != (after.date(), after.hour, after.utcoffset())
            case "day":
                assert before.date() < after.date()
            case "week":
                assert before.isocalendar().week != after.isocalendar().week
            case "month":
                assert before.month != after.month
    if bucket != "hour":
        dates = [of.local(before).date() for before in edges[:-1]]
        assert len(set(dates)) == len(dates)


def test_the_default_end_is_the_end_of_the_current_quarter_hour() -> None:
    now = datetime(2026, 11, 23, 10, 45, tzinfo=UTC)
    berlin = ZoneInfo("Europe/Berlin")
    for moment in (now, now + timedelta(minutes=14, seconds=59)):
        of = TimeRange.of(None, None, berlin, now=moment)
        assert (of.start, of.end) == (datetime(2026, 10, 24, 11, tzinfo=UTC), datetime(2026, 11, 23, 11, tzinfo=UTC))
    assert TimeRange.of(None, now, berlin, now=now).start == now - timedelta(days=30)
    assert TimeRange.of(now, None, berlin, now=now).end == now + QUARTER
    assert of.previous() == TimeRange(datetime(2026, 9, 24, 11, tzinfo=UTC), of.start, berlin)


def test_the_number_of_buckets_is_limited() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    longest = TimeRange(start, start + MAX_BUCKETS * timedelta(hours=1), ZoneInfo("UTC"))
    assert len(longest.edges("hour")) == MAX_BUCKETS + 1
    too_long = TimeRange(start, longest.end + QUARTER, ZoneInfo("UTC"))
    with pytest.raises(UnprocessableError):
        too_long.edges("hour")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "2026-11-01T00:00:01Z"}, "from"),
        ({"from": "2026-11-01T00:10:00Z"}, "from"),
        ({"from": "2026-11-01T00:00:00+00:01"}, "from"),
        ({"from": "2026-11-01T00:00:00"}, "from"),
        ({"from": "2026-11-01"}, "from"),
        ({"from": "1793491200"}, "from"),
        ({"from": "-1"}, "from"),
        ({"from": "0001-01-01T00:00:00+23:45"}, "from"),
        ({"from": "2019-12-31T23:45:00Z"}, "from"),
        ({"to": "2100-01-01T00:15:00Z"}, "to"),
        ({"to": "9999-12-31T23:45:00-23:45"}, "to"),
        ({"from": "2026-11-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, "from"),
        ({"from": "2026-11-01T00:00:00Z", "to": "2026-11-01T00:45:00+01:00"}, "from"),
        *(
            ({"timezone": name}, "timezone")
            for name in ("", "Mars/Phobos", "CEST", "europe/berlin", "Europe", "../UTC", "/etc/localtime", "right/UTC")
        ),
        ({"timezone": "E" * 65}, "timezone"),
        ({"until": "2026-11-01T00:00:00Z"}, "until"),
    ],
)
def test_an_invalid_range_is_rejected_with_the_field_name(
    report_client: ReportClient, query: dict[str, object], field: str
) -> None:
    for path in ("/overview", "/analytics/usage", "/reports/retention.csv"):
        problem = assert_problem(report_client.get(path, **query), 422, "validation_error")
        assert [error["field"] for error in problem["errors"]] == [f"query.{field}"]


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/analytics/usage", {"bucket": "hour", "from": "2026-01-01T00:00:00Z"}, "bucket"),
        ("/analytics/latency", {"bucket": "hour", "from": "2026-01-01T00:00:00Z"}, "bucket"),
        ("/analytics/usage", {"bucket": "hour", "group_by": "user", "limit": 100}, "limit"),
        ("/analytics/retention", {"from": "2025-01-01T00:00:00Z"}, "cohort"),
        ("/analytics/retention", {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}, "cohort"),
    ],
)
def test_a_report_with_too_many_rows_is_rejected_with_the_field_name(
    report_client: ReportClient, path: str, query: dict[str, object], field: str
) -> None:
    for one in (path, path.replace("analytics", "reports") + ".csv"):
        problem = assert_problem(report_client.get(one, **query), 422, "validation_error")
        assert [error["field"] for error in problem["errors"]] == [f"query.{field}"]
