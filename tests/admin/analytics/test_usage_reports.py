"""Usage and account reports, compared with totals counted from the workload at each stage of the roll-up."""

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tests.admin.analytics import workload
from tests.admin.analytics.expectations import calls_in_period, calls_of_user, day_of, hour_of, usage_figures, week_of
from tests.admin.analytics.workload import MODELS, USERS, Call
from tests.admin.conftest import ReportClient


@pytest.mark.parametrize(
    ("bucket", "of", "count"), [("hour", hour_of, 22 * 24 + 1), ("day", day_of, 22), ("week", week_of, 4)]
)
def test_usage_by_time_follows_the_time_zone(
    report_client: ReportClient, ledger: list[Call], bucket: str, of: Callable[[datetime], str], count: int
) -> None:
    report = report_client.report("usage", bucket=bucket)
    assert len(report["rows"]) == count
    for row in report["rows"]:
        name = of(datetime.fromisoformat(row["start"]))
        assert usage_figures(row) == workload.expected_figures(
            call for call in calls_in_period(ledger) if of(call.created_at) == name
        )
    assert report["totals"] == workload.expected_figures(calls_in_period(ledger))


def test_usage_by_model_adds_up_to_the_total(report_client: ReportClient, ledger: list[Call]) -> None:
    report = report_client.report("usage", bucket="day", group_by="model")
    assert len(report["rows"]) == 22 * len(MODELS)
    for row in report["rows"]:
        day = day_of(datetime.fromisoformat(row["start"]))
        calls = (
            call
            for call in calls_in_period(ledger)
            if call.model_requested == row["group"] and day_of(call.created_at) == day
        )
        assert usage_figures(row) == workload.expected_figures(calls, of_model=True)
    assert report["totals"] == workload.expected_figures(calls_in_period(ledger))


def test_usage_of_top_accounts_and_remainder_adds_up_to_the_total(
    report_client: ReportClient, ledger: list[Call]
) -> None:
    report = report_client.report("usage", bucket="week", group_by="user", order="turns", limit=2)
    turns = {name: workload.expected_figures(calls_of_user(ledger, name))["turns"] for name in USERS}
    first, second, last = sorted(USERS, key=lambda name: -turns[name])
    assert [row["name"] for row in report["rows"]] == [first, second, None] * 4
    for row in report["rows"]:
        week = week_of(datetime.fromisoformat(row["start"]))
        # Usage of erased accounts is in the total and in no account.
        names = [row["name"]] if row["name"] else [last, None]
        calls = (call for name in names for call in calls_of_user(ledger, name) if week_of(call.created_at) == week)
        assert usage_figures(row) == workload.expected_figures(calls)
    assert report["totals"] == workload.expected_figures(calls_in_period(ledger))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_daily_usage_by_account_follows_the_time_zone(
    report_client: ReportClient, ledger: list[Call], zone: str
) -> None:
    def of(moment: datetime) -> str:
        return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d}"

    report = report_client.report("usage", bucket="day", group_by="user", timezone=zone)
    assert len(report["rows"]) == len({of(call.created_at) for call in calls_in_period(ledger)}) * (len(USERS) + 1)
    for row in report["rows"]:
        day = of(datetime.fromisoformat(row["start"]))
        calls = (call for call in calls_of_user(ledger, row["name"]) if of(call.created_at) == day)
        assert usage_figures(row) == workload.expected_figures(calls)


@pytest.mark.parametrize("order", ["cost", "tokens", "turns"])
def test_accounts_are_ordered_and_the_remainder_is_last(
    report_client: ReportClient, ledger: list[Call], order: str
) -> None:
    by = {"cost": "cost_usd", "tokens": "total_tokens", "turns": "turns"}[order]
    expected = {name: workload.expected_figures(calls_of_user(ledger, name)) for name in USERS}
    names: list[str | None] = [*sorted(USERS, key=lambda name: expected[name][by], reverse=True)]
    report = report_client.report("users", order=order)
    assert [row["username"] for row in report["rows"]] == [*names, None]
    for row in report["rows"]:
        expected_row = workload.expected_figures(calls_of_user(ledger, row["username"]))
        assert usage_figures(row) == expected_row
        assert row["error_rate"] == round(expected_row["turns_failed"] / expected_row["turns"], 4)
        assert row["fallback_rate"] == round(expected_row["turns_by_fallback"] / expected_row["turns"], 4)
        assert row["cache_hit_rate"] == round(expected_row["turns_cached"] / expected_row["turns"], 4)
    assert report["totals"] == workload.expected_figures(calls_in_period(ledger))
    first, others = report_client.report("users", order=order, limit=1)["rows"]
    assert (first["username"], others["user_id"]) == (names[0], None)
    rest = (call for name in (*names[1:], None) for call in calls_of_user(ledger, name))
    assert usage_figures(others) == workload.expected_figures(rest)
