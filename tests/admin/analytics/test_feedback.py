"""Feedback report: buckets, groups, time zones, limits."""

from datetime import datetime
from typing import Any

import pytest

from tests.admin.conftest import ReportClient
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, assert_problem

# Quarter-hour, model, rating, reasons. Midnight in Berlin is 23:00 UTC, from March 29 on 22:00.
FEEDBACK = [
    ("2026-10-04 21:45", "gpt-a", "down", ["style"]),  # before the range of the fixture
    ("2026-10-05 22:00", "gpt-a", "up", []),
    ("2026-10-06 21:45", "gpt-a", "down", ["style", "unsafe"]),
    ("2026-10-06 22:00", "gpt-b", "down", ["unsafe"]),
    ("2026-10-06 22:00", "", "up", ["clear"]),
    ("2026-10-25 22:45", "gpt-b", "up", []),
]


@pytest.fixture
def stored(sql: Sql) -> None:
    for quarter, model, rating, reasons in FEEDBACK:
        for reason in ["", *(reasons or ["unspecified"])]:
            sql.do(
                "INSERT INTO feedback_quarters (quarter, model, rating, reason, ratings)"
                " VALUES (%s::timestamp AT TIME ZONE 'UTC', %s, %s, %s, 1)",
                [quarter, model, rating, reason],
            )


def counted(report: dict[str, Any]) -> dict[tuple[str, str | None], tuple[int, int]]:
    """Return `up` and `down` by day and group, of rows with ratings."""
    return {(row["start"][:10], row["group"]): (row["up"], row["down"]) for row in report["rows"] if row["ratings"]}


RANGE = {"from": "2026-10-05T00:00:00+02:00", "to": "2026-10-26T00:00:00+01:00"}


@pytest.mark.usefixtures("stored")
def test_ratings_by_day_follow_the_time_zone(report_client: ReportClient) -> None:
    report = report_client.report("feedback", **RANGE)
    assert len(report["rows"]) == 21
    assert counted(report) == {
        ("2026-10-06", None): (1, 1),
        ("2026-10-07", None): (1, 1),
        ("2026-10-25", None): (1, 0),
    }
    assert report["totals"] == {"ratings": 5, "up": 3, "down": 2, "share_up": 0.6}
    empty = next(row for row in report["rows"] if not row["ratings"])
    assert (empty["up"], empty["down"], empty["share_up"]) == (0, 0, None)
    utc = report_client.report("feedback", timezone="UTC", bucket="hour", **RANGE)
    assert sum(row["ratings"] for row in utc["rows"]) == 5
    last = utc["rows"][-1]
    assert (datetime.fromisoformat(last["start"]).hour, last["ratings"]) == (22, 1)


@pytest.mark.usefixtures("stored")
def test_ratings_by_model_add_up_to_the_total(report_client: ReportClient) -> None:
    report = report_client.report("feedback", group_by="model", bucket="week", **RANGE)
    assert counted(report) == {
        ("2026-10-05", "gpt-a"): (1, 1),
        ("2026-10-05", "gpt-b"): (0, 1),
        ("2026-10-05", None): (1, 0),  # the model is not known
        ("2026-10-19", "gpt-b"): (1, 0),
    }
    assert len(report["rows"]) == 3 * 3
    assert sum(row["ratings"] for row in report["rows"]) == report["totals"]["ratings"] == 5


@pytest.mark.usefixtures("stored")
def test_rating_with_two_reasons_is_counted_for_both(report_client: ReportClient) -> None:
    report = report_client.report("feedback", group_by="reason", bucket="week", **RANGE)
    assert counted(report) == {
        ("2026-10-05", "clear"): (1, 0),
        ("2026-10-05", "style"): (0, 1),
        ("2026-10-05", "unsafe"): (0, 2),
        ("2026-10-05", "unspecified"): (1, 0),
        ("2026-10-19", "unspecified"): (1, 0),
    }
    assert report["totals"]["ratings"] == 5


@pytest.mark.usefixtures("stored")
def test_file_has_the_rows_of_the_report(report_client: ReportClient) -> None:
    for group_by in ("none", "model", "reason"):
        query = {"group_by": group_by, **RANGE}
        rows = [
            {name: str(value) for name, value in row.items() if value is not None}
            for row in report_client.report("feedback", **query)["rows"]
        ]
        file = [
            {name: value for name, value in row.items() if value} for row in report_client.file("feedback", **query)
        ]
        assert file == rows


def test_report_without_feedback_is_empty(report_client: ReportClient) -> None:
    assert report_client.report("feedback", bucket="week")["totals"] == {
        "ratings": 0,
        "up": 0,
        "down": 0,
        "share_up": None,
    }
    assert report_client.report("feedback", group_by="model")["rows"] == []


def test_too_many_rows_are_refused(report_client: ReportClient, sql: Sql) -> None:
    refused = report_client.get("/analytics/feedback", **{"bucket": "hour", "from": "2026-01-01T00:00:00Z"})
    assert_problem(refused, 422, "validation_error")
    sql.do(
        "INSERT INTO feedback_quarters (quarter, model, rating, reason, ratings)"
        " SELECT '2026-10-06 00:00Z', 'model ' || i, 'up', '', 1 FROM generate_series(1, 600) AS i"
    )
    for path in ("/analytics/feedback", "/reports/feedback.csv"):
        problem = assert_problem(
            report_client.get(path, bucket="day", group_by="model", **RANGE), 422, "validation_error"
        )
        assert [error["field"] for error in problem["errors"]] == ["query.bucket"]


def test_feedback_is_in_the_report_at_once(report_client: ReportClient, chat: Chat) -> None:
    session = chat.open()
    answer = chat.ask(session, "Hi")["ai_response"]["id"]
    path = f"/sessions/{session}/messages/{answer}/feedback"
    now = report_client.client.get("/api/v1/admin/analytics/feedback", headers=report_client.admin.headers)
    assert now.json()["totals"]["ratings"] == 0
    for body, expected in (({"rating": "down"}, [0, 1]), ({"rating": "up"}, [1, 0])):
        chat.request("PUT", path, json=body)
        report = report_client.client.get(
            "/api/v1/admin/analytics/feedback", headers=report_client.admin.headers
        ).json()
        assert [report["totals"]["up"], report["totals"]["down"]] == expected
