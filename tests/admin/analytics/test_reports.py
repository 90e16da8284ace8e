"""Analytics reports, compared with totals counted from the workload at each stage of the roll-up."""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from tests.admin.analytics import workload
from tests.admin.analytics.workload import END, MODELS, START, USERS, Call
from tests.admin.conftest import Figures
from tests.fixtures.database import Sql
from tests.fixtures.services import User

BERLIN = ZoneInfo("Europe/Berlin")
FIGURES = list(workload.figures([]))


def only_figures(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in FIGURES}


def asked(ledger: Iterable[Call]) -> list[Call]:
    return workload.within(ledger, START, END)


def day_of(moment: datetime) -> str:
    return f"{moment.astimezone(BERLIN):%Y-%m-%d}"


def hour_of(moment: datetime) -> str:
    return moment.astimezone(BERLIN).strftime("%Y-%m-%d %H %z")


def week_of(moment: datetime) -> str:
    local = moment.astimezone(BERLIN)
    return f"{local.isocalendar().year} {local.isocalendar().week}"


@pytest.mark.parametrize(
    ("bucket", "of", "count"), [("hour", hour_of, 22 * 24 + 1), ("day", day_of, 22), ("week", week_of, 4)]
)
def test_usage_by_time_follows_the_time_zone(
    figures: Figures, ledger: list[Call], bucket: str, of: Callable[[datetime], str], count: int
) -> None:
    report = figures.report("usage", bucket=bucket)
    assert len(report["rows"]) == count
    for row in report["rows"]:
        name = of(datetime.fromisoformat(row["start"]))
        assert only_figures(row) == workload.figures(call for call in asked(ledger) if of(call.created_at) == name)
    assert report["totals"] == workload.figures(asked(ledger))


def test_usage_by_model_adds_up_to_the_total(figures: Figures, ledger: list[Call]) -> None:
    report = figures.report("usage", bucket="day", group_by="model")
    assert len(report["rows"]) == 22 * len(MODELS)
    for row in report["rows"]:
        day = day_of(datetime.fromisoformat(row["start"]))
        theirs = (
            call for call in asked(ledger) if call.model_requested == row["group"] and day_of(call.created_at) == day
        )
        assert only_figures(row) == workload.figures(theirs, of_model=True)
    assert report["totals"] == workload.figures(asked(ledger))


def test_usage_of_top_accounts_and_remainder_adds_up_to_the_total(figures: Figures, ledger: list[Call]) -> None:
    report = figures.report("usage", bucket="week", group_by="user", order="turns", limit=2)
    turns = {name: workload.figures(of_user(ledger, name))["turns"] for name in USERS}
    first, second, last = sorted(USERS, key=lambda name: -turns[name])
    assert [row["name"] for row in report["rows"]] == [first, second, None] * 4
    for row in report["rows"]:
        week = week_of(datetime.fromisoformat(row["start"]))
        # Usage of erased accounts is in the total and in no account.
        names = [row["name"]] if row["name"] else [last, None]
        theirs = (call for name in names for call in of_user(ledger, name) if week_of(call.created_at) == week)
        assert only_figures(row) == workload.figures(theirs)
    assert report["totals"] == workload.figures(asked(ledger))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_daily_usage_by_account_follows_the_time_zone(figures: Figures, ledger: list[Call], zone: str) -> None:
    def of(moment: datetime) -> str:
        return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d}"

    report = figures.report("usage", bucket="day", group_by="user", timezone=zone)
    assert len(report["rows"]) == len({of(call.created_at) for call in asked(ledger)}) * (len(USERS) + 1)
    for row in report["rows"]:
        day = of(datetime.fromisoformat(row["start"]))
        theirs = (call for call in of_user(ledger, row["name"]) if of(call.created_at) == day)
        assert only_figures(row) == workload.figures(theirs)


@pytest.mark.parametrize("order", ["cost", "tokens", "turns"])
def test_accounts_are_ordered_and_the_remainder_is_last(figures: Figures, ledger: list[Call], order: str) -> None:
    by = {"cost": "cost_usd", "tokens": "total_tokens", "turns": "turns"}[order]
    expected = {name: workload.figures(of_user(ledger, name)) for name in USERS}
    names: list[str | None] = [*sorted(USERS, key=lambda name: expected[name][by], reverse=True)]
    report = figures.report("users", order=order)
    assert [row["username"] for row in report["rows"]] == [*names, None]
    for row in report["rows"]:
        theirs = workload.figures(of_user(ledger, row["username"]))
        assert only_figures(row) == theirs
        assert row["error_rate"] == round(theirs["turns_failed"] / theirs["turns"], 4)
        assert row["fallback_rate"] == round(theirs["turns_by_fallback"] / theirs["turns"], 4)
        assert row["cache_hit_rate"] == round(theirs["turns_cached"] / theirs["turns"], 4)
    assert report["totals"] == workload.figures(asked(ledger))
    first, others = figures.report("users", order=order, limit=1)["rows"]
    assert (first["username"], others["user_id"]) == (names[0], None)
    rest = (call for name in (*names[1:], None) for call in of_user(ledger, name))
    assert only_figures(others) == workload.figures(rest)


def test_the_model_report_counts_each_model(figures: Figures, ledger: list[Call]) -> None:
    report = figures.report("models", order="tokens")
    tokens = [row["total_tokens"] for row in report["rows"]]
    assert tokens == sorted(tokens, reverse=True)
    assert {row["model"] for row in report["rows"]} == set(MODELS)
    for row in report["rows"]:
        theirs = of_model(asked(ledger), row["model"])
        assert only_figures(row) == workload.figures(theirs, of_model=True)
        assert row["error_rate"] == round(sum(call.status == "error" for call in theirs) / len(theirs), 4)
        assert_percentiles(row, theirs)
    assert report["totals"] == workload.figures(asked(ledger))


@pytest.mark.parametrize("group_by", ["none", "model"])
def test_latency_percentiles_match_the_answers(figures: Figures, ledger: list[Call], group_by: str) -> None:
    report = figures.report("latency", bucket="week", group_by=group_by)
    assert len(report["rows"]) == 4 * (len(MODELS) if group_by == "model" else 1)
    for row in report["rows"]:
        week = week_of(datetime.fromisoformat(row["start"]))
        theirs = [call for call in asked(ledger) if week_of(call.created_at) == week]
        assert_percentiles(row, of_model(theirs, row["model"]) if group_by == "model" else theirs)
        assert row["model"] in (MODELS if group_by == "model" else [None])
    assert_percentiles(report["totals"], asked(ledger))


def test_errors_are_counted_by_model_and_code(figures: Figures, ledger: list[Call]) -> None:
    report = figures.report("errors")
    failed = [call for call in asked(ledger) if call.error_code]
    assert (report["calls"], report["calls_failed"]) == (len(asked(ledger)), len(failed))
    assert report["error_rate"] == round(len(failed) / len(asked(ledger)), 4)
    expected = {
        (model, code): [call for call in failed if (call.model_requested, call.error_code) == (model, code)]
        for model, code in {(call.model_requested, call.error_code) for call in failed}
    }
    assert {(row["model"], row["error_code"]): row["calls"] for row in report["rows"]} == {
        key: len(calls) for key, calls in expected.items()
    }
    for row in report["rows"]:
        assert row["share"] == round(row["calls"] / len(of_model(asked(ledger), row["model"])), 4)
    assert report["rows"] == sorted(report["rows"], key=lambda row: -row["calls"])


def test_the_overview_contains_the_period_and_the_previous_one(figures: Figures, ledger: list[Call], sql: Sql) -> None:
    before = START - (END - START)
    for name, moment in zip(USERS, (START - timedelta(days=1), START, END), strict=True):
        sql.do("UPDATE users SET created_at = %s WHERE username = %s", [moment, name])
    overview = figures.get("/overview").json()
    for period, start, end, registered in (("period", START, END, 1), ("previous", before, START, 1)):
        calls = workload.within(ledger, start, end)
        shown = overview[period]
        assert (datetime.fromisoformat(shown["from"]), datetime.fromisoformat(shown["to"])) == (start, end)
        assert only_figures(shown) == workload.figures(calls)
        assert shown["users_active"] == len({call.user for call in calls if call.user})
        assert shown["users_registered"] == registered
        assert shown["error_rate"] == round(shown["turns_failed"] / shown["turns"], 4)
    assert overview["tokens"]["total"] == workload.figures(ledger)["total_tokens"]
    assert overview["turns"]["failed"] == workload.figures(ledger)["turns_failed"]


def test_messages_of_a_period_are_counted_in_sessions_of_any_age(figures: Figures, admin: User, sql: Sql) -> None:
    before, dice = START - (END - START), random.Random(11)  # noqa: S311 - chance that repeats itself
    edges = [before, START, END, *(edge - timedelta(microseconds=1) for edge in (before, START, END))]
    for _ in range(60):
        first = before + dice.random() * 2.4 * (END - START) - (END - START) / 5
        moments = {first + dice.random() ** 3 * (END - START) / 3 for _ in range(dice.randrange(5))}
        moments |= {edge for edge in edges if moments and min(moments) < edge < max(moments)}
        store_session(sql, admin, first, sorted(moments))
    overview = figures.get("/overview").json()
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
    figures: Figures, make_user: Callable[[str], User], sql: Sql, roll_up: Callable[[int], int], rolled_up: int
) -> None:
    week = timedelta(days=7)
    (call, *_) = workload.calls()
    for name, moment in (("ada", START), ("bob", START + week)):
        make_user(name)
        sql.do("UPDATE users SET created_at = %s WHERE username = %s", [START - week, name])
        workload.store(sql, [replace(call, turn_id=uuid4(), user=name, created_at=moment)])
    assert roll_up(rolled_up) == rolled_up
    span = {"from": (START - week).isoformat(), "to": (START + 2 * week).isoformat()}
    report = figures.report("retention", **span)
    assert [row["active"] for row in report["rows"] if row["users"]] == [0, 1, 1]
    for start, active, active_before in ((START, 1, 0), (START + week, 1, 1), (START - week, 0, 0)):
        overview = figures.get("/overview", **{"from": start.isoformat(), "to": (start + week).isoformat()}).json()
        assert (overview["period"]["users_active"], overview["previous"]["users_active"]) == (active, active_before)


def test_cohort_retention_counts_active_users(figures: Figures, ledger: list[Call], sql: Sql) -> None:
    # Registered at the edges of weeks in Berlin, where clocks change on October 25th.
    registered = {"ada": START, "bob": START + timedelta(days=14, hours=1), "cyd": START + timedelta(days=14)}
    for name, moment in registered.items():
        sql.do("UPDATE users SET created_at = %s WHERE username = %s", [moment, name])
    # The start is in the middle of the first week, and is moved to its beginning.
    report = figures.report("retention", **{"from": (START + timedelta(days=3)).isoformat()})
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
        active = {call.user for call in workload.within(ledger, start, end) if call.user in cohort}
        assert (row["users"], row["active"]) == (len(cohort), len(active))
        assert row["share"] == (round(len(active) / len(cohort), 4) if cohort else 0)
    assert {row["cohort_start"][:10]: row["users"] for row in report["rows"]} == {
        "2026-10-12": 1,
        "2026-10-19": 1,
        "2026-10-26": 1,
        "2026-11-02": 0,
    }


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("usage", {"bucket": "day", "group_by": "model", "limit": 2}),
        ("usage", {"bucket": "hour"}),
        ("usage", {"bucket": "week", "group_by": "user", "limit": 2}),
        ("latency", {"bucket": "day", "group_by": "model"}),
        ("errors", {}),
        ("models", {"order": "turns"}),
        ("users", {"order": "tokens"}),
        ("retention", {"cohort": "month"}),
    ],
)
def test_csv_files_contain_the_rows_of_the_reports(
    figures: Figures, ledger: list[Call], name: str, query: dict[str, object]
) -> None:
    rows = figures.report(name, **query)["rows"]
    assert len(rows) > 2
    shown = [{key: cell.removeprefix("'") for key, cell in row.items()} for row in figures.file(name, **query)]
    assert shown == [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]


def test_the_overview_file_contains_both_periods(figures: Figures, ledger: list[Call]) -> None:
    overview = figures.get("/overview").json()
    rows = {row["figure"]: (row["period"], row["previous"]) for row in figures.file("overview")}
    assert rows == {name: (str(value), str(overview["previous"][name])) for name, value in overview["period"].items()}


def of_user(ledger: Iterable[Call], name: str | None) -> list[Call]:
    return [call for call in asked(ledger) if call.user == name]


def of_model(ledger: Iterable[Call], model: str) -> list[Call]:
    return [call for call in ledger if call.model_requested == model]


def assert_percentiles(row: dict[str, Any], calls: Iterable[Call]) -> None:
    answers = [call for call in calls if call.purpose == "answer" and call.status == "ok" and not call.is_cached]
    measured = {
        "latency": sorted(call.latency_ms for call in answers),
        "first_token": sorted(call.first_token_ms for call in answers if call.first_token_ms is not None),
    }
    if "streams" in row:
        assert (row["calls"], row["streams"]) == tuple(map(len, measured.values()))
    for name, times in measured.items():
        for percent in (50, 90, 95, 99):
            shown = row[f"{name}_p{percent}_ms"]
            if times:
                exact = times[math.ceil(percent / 100 * len(times)) - 1]
                assert abs(shown - exact) <= 0.026 * exact + 1
            else:
                assert shown is None
