"""Fixtures of the admin tests: a client for reports, and a ledger with a known workload."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app.database.repositories.usage import rollup_tables
from tests.admin.analytics import workload
from tests.admin.analytics.workload import Call
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, User

THREE_WEEKS = {"from": workload.START.isoformat(), "to": workload.END.isoformat(), "timezone": "Europe/Berlin"}


@dataclass(frozen=True)
class ReportClient:
    """Client that requests reports as an admin."""

    client: TestClient
    admin: User

    def get(self, path: str, **query: object) -> Response:
        parameters = {name: str(value) for name, value in (THREE_WEEKS | query).items()}
        return self.client.get(f"{ADMIN}{path}", params=parameters, headers=self.admin.headers)

    def report(self, name: str, **query: object) -> dict[str, Any]:
        response = self.get(f"/analytics/{name}", **query)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def file(self, name: str, **query: object) -> list[dict[str, str]]:
        response = self.get(f"/reports/{name}.csv", **query)
        assert response.status_code == 200, response.text
        return list(csv.DictReader(io.StringIO(response.text, newline=""), strict=True))


@pytest.fixture
def report_client(admin_client: TestClient, admin: User) -> ReportClient:
    return ReportClient(admin_client, admin)


@pytest.fixture(params=["pending", "half rolled up", "half rolled up, days and weeks too", "rolled up"])
def ledger(
    request: pytest.FixtureRequest, make_user: Callable[[str], User], sql: Sql, roll_up: Callable[[int], int]
) -> list[Call]:
    """Ledger rows of the workload, at different stages of the roll-up."""
    for name in workload.USERS:
        make_user(name)
    calls = workload.calls()
    workload.store(sql, calls)
    stage, _, longer = request.param.partition(", ")
    roll_up({"pending": 0, "half rolled up": len(calls) // 2, "rolled up": len(calls)}[stage])
    if longer:  # as after enough reconciliation passes
        sql.do(
            "INSERT INTO usage_repair (id, passes) SELECT unnest(%s), 100",
            [[rollup_tables.DAILY_RECONCILIATION_ID, rollup_tables.WEEKLY_RECONCILIATION_ID]],
        )
    return calls
