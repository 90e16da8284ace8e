"""Overview and retention: periods, their predecessors and cohorts."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from tests.admin.analytics import workload
from tests.admin.analytics.expectations import usage_figures
from tests.admin.analytics.workload import END, START, USERS, Call
from tests.admin.conftest import ReportClient
from tests.fixtures.database import Sql
from tests.fixtures.services import User


def test_the_overview_contains_the_period_and_the_previous_one(
    report_client: ReportClient, ledger: list[Call], sql: Sql
) -> None:
    before = START - (END - START)
    for name, moment in zip(USERS, (START - timedelta(days=1), START, END), strict=True):
        sql.do("UPDATE users SET created_at = %s WHERE username = %s", [moment, name])
    overview = report_client.get("/overview").json()
    for period, start, end, registered in (("period", START, END, 1), ("previous", before, START, 1)):
        calls = workload.calls_between(ledger, start, end)
        row = overview[period]
        assert (datetime.fromisoformat(row["from"]), datetime.fromisoformat(row["to"])) == (start, end)
        assert usage_figures(row) == workload.expected_figures(calls)
        assert row["users_active"] == len({call.user for call in calls if call.user})
        assert row["users_registered"] == registered
        assert row["error_rate"] == round(row["turns_failed"] / row["turns"], 4)
    assert overview["tokens"]["total"] == workload.expected_figures(ledger)["total_tokens"]
    assert overview["turns"]["failed"] == workload.expected_figures(ledger)["turns_failed"]


def test_messages_of_a_period_are_counted_in_sessions_of_any_age(
    report_client: ReportClient, admin: User, sql: Sql
) -> None:
    before, rng = START - (END - START), random.Random(11)  # noqa: S311 - chance that repeats itself
    edges = [before, START, END, *(edge - timedelta(microseconds=1) for edge in (before, START, END))]
    for _ in range(60):
        first = before + rng.random() * 2.4 * (END - START) - (END - START) / 5
        moments = {first + rng.random() ** 3 * (END - START) / 3 for _ in range(rng.randrange(5))}
        moments |= {edge for edge in edges if moments and min(moments) < edge < max(moments)}
        store_session(sql, admin, first, sorted(moments))
    overview = report_client.get("/overview").json()
    count = "SELECT count(*) FROM {} WHERE created_at >= %s AND created_at < %s"
    for period, start, end in (("period", START, END), ("previous", before, START)):
        assert overview[period]["messages"] == sql.value(count.format("chat_messages"), [start, end]) > 20
        assert overview[period]["sessions"] == sql.value(count.format("chat_sessions"), [start, end]) > 10
    assert overview["messages"] == sql.value("SELECT count(*) FROM chat_messages")


def store_session(sql: Sql, owner: User, created_at: datetime, moments: list[datetime]) -> None:
    session = sql.rows(
        "INSERT INTO chat_sessions (uuid, user_id, title, created_at, last_message_at, message_count, last_seq)"
        " SELECT gen_random_uuid(), id, 'A session', %(created_at)s, %(last)s, %(count)s, %(count)s"
        " FROM users WHERE uuid = %(owner)s RETURNING id",
        {"created_at": created_at, "last": max(moments, default=None), "count": len(moments), "owner": owner.id},
    )
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status, created_at)"
        " SELECT gen_random_uuid(), %s, seq, 'user', 'Hi', 'complete', created_at"
        " FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS moments (created_at, seq)",
        [session[0]["id"], moments],
    )


@pytest.mark.parametrize("rolled_up", [0, 2])
def test_activity_at_a_bucket_boundary_belongs_to_the_later_period(
    report_client: ReportClient,
    make_user: Callable[[str], User],
    sql: Sql,
    roll_up: Callable[[int], int],
    rolled_up: int,
) -> None:
    week = timedelta(days=7)
    (call, *_) = workload.calls()
    for name, moment in (("ada", START), ("bob", START + week)):
        make_user(name)
        sql.do("UPDATE users SET created_at = %s WHERE username = %s", [START - week, name])
        workload.store(sql, [replace(call, turn_id=uuid4(), user=name, created_at=moment)])
    assert roll_up(rolled_up) == rolled_up
    span = {"from": (START - week).isoformat(), "to": (START + 2 * week).isoformat()}
    report = report_client.report("retention", **span)
    assert [row["active"] for row in report["rows"] if row["users"]] == [0, 1, 1]
    for start, active, active_before in ((START, 1, 0), (START + week, 1, 1), (START - week, 0, 0)):
        overview = report_client.get(
            "/overview", **{"from": start.isoformat(), "to": (start + week).isoformat()}
        ).json()
        assert (overview["period"]["users_active"], overview["previous"]["users_active"]) == (active, active_before)


def test_cohort_retention_counts_active_users(report_client: ReportClient, ledger: list[Call], sql: Sql) -> None:
    # Registered at the edges of weeks in Berlin, where clocks change on October 25th.
    registered = {"ada": START, "bob": START + timedelta(days=14, hours=1), "cyd": START + timedelta(days=14)}
    for name, moment in registered.items():
        sql.do("UPDATE users SET created_at = %s WHERE username = %s", [moment, name])
    # The start is in the middle of the first week, and is moved to its beginning.
    report = report_client.report("retention", **{"from": (START + timedelta(days=3)).isoformat()})
    assert datetime.fromisoformat(report["from"]) == START
    assert [(row["cohort_start"][:10], row["period"]) for row in report["rows"]] == [
        (f"2026-{first}", period)
        for first, count in (("10-12", 4), ("10-19", 3), ("10-26", 2), ("11-02", 1))
        for period in range(count)
    ]
    for row in report["rows"]:
        start, end = (datetime.fromisoformat(row[name]) for name in ("period_start", "period_end"))
        cohort = [
            name
            for name, moment in registered.items()
            if datetime.fromisoformat(row["cohort_start"]) <= moment < datetime.fromisoformat(row["cohort_end"])
        ]
        active = {call.user for call in workload.calls_between(ledger, start, end) if call.user in cohort}
        assert (row["users"], row["active"]) == (len(cohort), len(active))
        assert row["share"] == (round(len(active) / len(cohort), 4) if cohort else 0)
    assert {row["cohort_start"][:10]: row["users"] for row in report["rows"]} == {
        "2026-10-12": 1,
        "2026-10-19": 1,
        "2026-10-26": 1,
        "2026-11-02": 0,
    }
