"""Reports by provider, compared with totals counted from the workload at each stage of the roll-up."""

from datetime import datetime

import pytest

from tests.admin.analytics import workload
from tests.admin.analytics.expectations import (
    assert_percentiles,
    calls_in_period,
    calls_of_model,
    calls_of_provider,
    day_of,
    usage_figures,
    week_of,
)
from tests.admin.analytics.workload import MODELS, PROVIDERS, Call
from tests.admin.conftest import ReportClient
from tests.fixtures.database import Sql

KNOWN = [name for name in PROVIDERS if name is not None]


@pytest.fixture(params=["reconciled", "before the first reconciliation"])
def is_complete(request: pytest.FixtureRequest, ledger: list[Call], sql: Sql) -> bool:
    """Whether the roll-ups by provider contain all rows that have been rolled up, as they do not after an upgrade."""
    if request.param == "reconciled":
        return True
    for table in ("provider_usage_quarters", "provider_latency_quarters", "provider_error_quarters"):
        sql.do(f"TRUNCATE {table}")
    return False


def test_usage_by_provider_adds_up_to_the_total(
    report_client: ReportClient, ledger: list[Call], *, is_complete: bool
) -> None:
    report = report_client.report("usage", bucket="day", group_by="provider")
    assert report["totals"] == workload.expected_figures(calls_in_period(ledger))
    for day in {row["start"] for row in report["rows"]}:
        rows = [row for row in report["rows"] if row["start"] == day]
        calls = [call for call in calls_in_period(ledger) if day_of(call.created_at) == day[:10]]
        assert sum(row["calls"] for row in rows) == len(calls)
        if is_complete:
            assert {row["group"] for row in rows} == set(PROVIDERS)
            for row in rows:
                expected = workload.expected_figures(calls_of_provider(calls, row["group"]), of_model=True)
                assert usage_figures(row) == expected


def test_groups_beyond_the_limit_are_in_the_remainder(report_client: ReportClient, ledger: list[Call]) -> None:
    report = report_client.report("usage", bucket="week", group_by="provider", order="turns", limit=1)
    turns = {
        name: workload.expected_figures(calls_of_provider(calls_in_period(ledger), name))["turns"] for name in KNOWN
    }
    largest = max(KNOWN, key=lambda name: turns[name])
    assert [row["group"] for row in report["rows"]] == [largest, None] * 4
    rest = [call for call in calls_in_period(ledger) if call.provider != largest]
    assert sum(row["calls"] for row in report["rows"] if row["group"] is None) == len(rest)


@pytest.mark.parametrize("provider", [*KNOWN, "unused"])
def test_usage_is_restricted_to_a_provider(report_client: ReportClient, ledger: list[Call], provider: str) -> None:
    calls = calls_of_provider(calls_in_period(ledger), provider)
    for group_by in ("none", "model", "provider"):
        report = report_client.report("usage", bucket="week", group_by=group_by, provider=provider)
        assert report["totals"] == workload.expected_figures(calls, of_model=True)
        for row in report["rows"]:
            week = week_of(datetime.fromisoformat(row["start"]))
            of_week = [call for call in calls if week_of(call.created_at) == week]
            group = row["group"]
            of_group = calls_of_model(of_week, group) if group_by == "model" else of_week
            assert group in {"none": [None], "model": MODELS, "provider": [provider]}[group_by]
            assert usage_figures(row) == workload.expected_figures(of_group, of_model=True)


def test_usage_of_accounts_at_a_provider_is_refused(report_client: ReportClient) -> None:
    for name in ("/analytics/usage", "/reports/usage.csv"):
        response = report_client.get(name, group_by="user", provider="azure")
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "query.provider"


@pytest.mark.parametrize("provider", ["", "x" * 51, "a\x00"])
def test_names_that_no_provider_can_have_are_refused(report_client: ReportClient, provider: str) -> None:
    for name in ("usage", "latency", "errors", "models"):
        assert report_client.get(f"/analytics/{name}", provider=provider).status_code == 422


def test_latency_percentiles_of_each_provider_match_its_answers(
    report_client: ReportClient, ledger: list[Call], *, is_complete: bool
) -> None:
    report = report_client.report("latency", bucket="week", group_by="provider")
    assert_percentiles(report["totals"], calls_in_period(ledger))
    if is_complete:
        assert {row["provider"] for row in report["rows"]} == set(PROVIDERS)
    for row in report["rows"]:
        assert row["model"] is None
        week = week_of(datetime.fromisoformat(row["start"]))
        calls = [call for call in calls_in_period(ledger) if week_of(call.created_at) == week]
        if is_complete:
            assert_percentiles(row, calls_of_provider(calls, row["provider"]))


@pytest.mark.parametrize("group_by", ["none", "model", "provider"])
def test_latency_is_restricted_to_a_provider(report_client: ReportClient, ledger: list[Call], group_by: str) -> None:
    calls = calls_of_provider(calls_in_period(ledger), "azure")
    report = report_client.report("latency", bucket="week", group_by=group_by, provider="azure")
    assert_percentiles(report["totals"], calls)
    for row in report["rows"]:
        week = week_of(datetime.fromisoformat(row["start"]))
        of_week = [call for call in calls if week_of(call.created_at) == week]
        assert_percentiles(row, calls_of_model(of_week, row["model"]) if group_by == "model" else of_week)
        assert row["provider"] == "azure"


def test_errors_are_counted_by_provider_and_code(
    report_client: ReportClient, ledger: list[Call], *, is_complete: bool
) -> None:
    report = report_client.report("errors", group_by="provider")
    failed = [call for call in calls_in_period(ledger) if call.error_code]
    assert (report["calls"], report["calls_failed"]) == (len(calls_in_period(ledger)), len(failed))
    if is_complete:
        assert {(row["provider"], row["error_code"]): row["calls"] for row in report["rows"]} == {
            (name, code): sum((call.provider, call.error_code) == (name, code) for call in failed)
            for name, code in {(call.provider, call.error_code) for call in failed}
        }
        for row in report["rows"]:
            of_provider = calls_of_provider(calls_in_period(ledger), row["provider"])
            assert row["share"] == round(row["calls"] / len(of_provider), 4)


@pytest.mark.parametrize("group_by", ["model", "provider"])
def test_errors_are_restricted_to_a_provider(report_client: ReportClient, ledger: list[Call], group_by: str) -> None:
    report = report_client.report("errors", group_by=group_by, provider="ollama")
    calls = calls_of_provider(calls_in_period(ledger), "ollama")
    failed = [call for call in calls if call.error_code]
    assert (report["calls"], report["calls_failed"]) == (len(calls), len(failed))
    names = set(MODELS) if group_by == "model" else {None}
    assert {(row["model"], row["provider"]) for row in report["rows"]} == {(name, "ollama") for name in names}


def test_the_model_report_is_restricted_to_a_provider(report_client: ReportClient, ledger: list[Call]) -> None:
    report = report_client.report("models", provider="ollama")
    calls = calls_of_provider(calls_in_period(ledger), "ollama")
    assert report["totals"] == workload.expected_figures(calls, of_model=True)
    for row in report["rows"]:
        of_model = calls_of_model(calls, row["model"])
        assert usage_figures(row) == workload.expected_figures(of_model, of_model=True)
        assert_percentiles(row, of_model)
