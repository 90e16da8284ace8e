"""Expected contents of reports, counted from the workload."""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.admin.analytics import workload
from tests.admin.analytics.workload import END, START, Call

BERLIN = ZoneInfo("Europe/Berlin")
FIGURES = list(workload.expected_figures([]))


def usage_figures(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in FIGURES}


def calls_in_period(ledger: Iterable[Call]) -> list[Call]:
    return workload.calls_between(ledger, START, END)


def day_of(moment: datetime) -> str:
    return f"{moment.astimezone(BERLIN):%Y-%m-%d}"


def hour_of(moment: datetime) -> str:
    return moment.astimezone(BERLIN).strftime("%Y-%m-%d %H %z")


def week_of(moment: datetime) -> str:
    local = moment.astimezone(BERLIN)
    return f"{local.isocalendar().year} {local.isocalendar().week}"


def calls_of_user(ledger: Iterable[Call], name: str | None) -> list[Call]:
    return [call for call in calls_in_period(ledger) if call.user == name]


def calls_of_model(ledger: Iterable[Call], model: str) -> list[Call]:
    return [call for call in ledger if call.model_requested == model]


def calls_of_provider(ledger: Iterable[Call], provider: str | None) -> list[Call]:
    return [call for call in ledger if call.provider == provider]


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
            reported = row[f"{name}_p{percent}_ms"]
            if times:
                exact = times[math.ceil(percent / 100 * len(times)) - 1]
                assert abs(reported - exact) <= 0.026 * exact + 1
            else:
                assert reported is None
