"""Reports on models, latency and errors, and CSV files of all reports."""

from datetime import datetime

import pytest

from app.config import ModelSetting, ProviderSetting, Settings
from tests.admin.analytics import workload
from tests.admin.analytics.expectations import (
    assert_percentiles,
    calls_in_period,
    calls_of_model,
    usage_figures,
    week_of,
)
from tests.admin.analytics.workload import MODELS, Call
from tests.admin.conftest import ReportClient


def test_the_model_report_counts_each_model(report_client: ReportClient, ledger: list[Call]) -> None:
    report = report_client.report("models", order="tokens")
    tokens = [row["total_tokens"] for row in report["rows"]]
    assert tokens == sorted(tokens, reverse=True)
    assert {row["model"] for row in report["rows"]} == set(MODELS)
    for row in report["rows"]:
        calls = calls_of_model(calls_in_period(ledger), row["model"])
        assert usage_figures(row) == workload.expected_figures(calls, of_model=True)
        assert row["error_rate"] == round(sum(call.status == "error" for call in calls) / len(calls), 4)
        assert_percentiles(row, calls)
        assert row["provider"] is None
    assert report["totals"] == workload.expected_figures(calls_in_period(ledger))


@pytest.mark.parametrize("group_by", ["none", "model"])
def test_latency_percentiles_match_the_answers(report_client: ReportClient, ledger: list[Call], group_by: str) -> None:
    report = report_client.report("latency", bucket="week", group_by=group_by)
    assert len(report["rows"]) == 4 * (len(MODELS) if group_by == "model" else 1)
    for row in report["rows"]:
        week = week_of(datetime.fromisoformat(row["start"]))
        calls = [call for call in calls_in_period(ledger) if week_of(call.created_at) == week]
        assert_percentiles(row, calls_of_model(calls, row["model"]) if group_by == "model" else calls)
        assert row["model"] in (MODELS if group_by == "model" else [None])
    assert_percentiles(report["totals"], calls_in_period(ledger))


def test_errors_are_counted_by_model_and_code(report_client: ReportClient, ledger: list[Call]) -> None:
    report = report_client.report("errors")
    failed = [call for call in calls_in_period(ledger) if call.error_code]
    assert (report["calls"], report["calls_failed"]) == (len(calls_in_period(ledger)), len(failed))
    assert report["error_rate"] == round(len(failed) / len(calls_in_period(ledger)), 4)
    expected = {
        (model, code): [call for call in failed if (call.model_requested, call.error_code) == (model, code)]
        for model, code in {(call.model_requested, call.error_code) for call in failed}
    }
    assert {(row["model"], row["error_code"]): row["calls"] for row in report["rows"]} == {
        key: len(calls) for key, calls in expected.items()
    }
    for row in report["rows"]:
        assert row["share"] == round(row["calls"] / len(calls_of_model(calls_in_period(ledger), row["model"])), 4)
    assert report["rows"] == sorted(report["rows"], key=lambda row: -row["calls"])


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("usage", {"bucket": "day", "group_by": "model", "limit": 2}),
        ("usage", {"bucket": "hour"}),
        ("usage", {"bucket": "week", "group_by": "user", "limit": 2}),
        ("latency", {"bucket": "day", "group_by": "model"}),
        ("errors", {}),
        ("usage", {"bucket": "day", "group_by": "provider"}),
        ("usage", {"bucket": "day", "group_by": "model", "provider": "azure"}),
        ("latency", {"bucket": "day", "group_by": "provider"}),
        ("latency", {"bucket": "day", "provider": "azure"}),
        ("errors", {"group_by": "provider"}),
        ("errors", {"provider": "ollama"}),
        ("models", {"provider": "ollama"}),
        ("models", {"order": "turns"}),
        ("users", {"order": "tokens"}),
        ("retention", {"cohort": "month"}),
    ],
)
def test_csv_files_contain_the_rows_of_the_reports(
    report_client: ReportClient, ledger: list[Call], name: str, query: dict[str, object]
) -> None:
    rows = report_client.report(name, **query)["rows"]
    assert len(rows) > 2
    file_rows = [
        {key: cell.removeprefix("'") for key, cell in row.items()} for row in report_client.file(name, **query)
    ]
    assert file_rows == [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]


def test_the_overview_file_contains_both_periods(report_client: ReportClient, ledger: list[Call]) -> None:
    overview = report_client.get("/overview").json()
    rows = {row["figure"]: (row["period"], row["previous"]) for row in report_client.file("overview")}
    assert rows == {name: (str(value), str(overview["previous"][name])) for name, value in overview["period"].items()}


def test_the_model_report_names_the_providers(
    report_client: ReportClient, ledger: list[Call], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "model_providers", lambda _settings: {"gpt-a": "azure"})
    providers = {row["model"]: row["provider"] for row in report_client.report("models")["rows"]}
    assert providers == {model: "azure" if model == "gpt-a" else None for model in MODELS}


def test_models_have_the_provider_of_their_entry_or_the_default_one(settings: Settings) -> None:
    changes = {
        "LLM_MODELS": [ModelSetting(name="gpt-fallback", provider="azure"), ModelSetting(name="other")],
        "LLM_PROVIDERS": [ProviderSetting(name="azure")],
    }
    simple = settings.model_copy(update=changes)
    assert simple.model_providers() == {"gpt-primary": "default", "gpt-fallback": "azure", "other": "default"}
    only = simple.model_copy(update={"OPENAI_API_KEY": None, "OPENAI_BASE_URL": None})
    assert only.model_providers() == {"gpt-primary": "azure", "gpt-fallback": "azure", "other": "azure"}
