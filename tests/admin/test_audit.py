"""Search and export of the audit log."""

import csv
import io
import json
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from app.admin import audit as audit_module
from app.admin.schemas.audit import AuditExportQuery
from app.core.exceptions import ForbiddenError
from app.database.connection import Database
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit.audit_log import RequestOrigin
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, User, assert_problem

OTHER = "7c1e4b2a-9d3f-4a5b-8c6d-1e2f3a4b5c6d"
"""Constant, because it is part of test ids."""


@pytest.fixture
def log(sql: Sql, admin: User) -> Sql:
    """Audit log with seven old entries: two with the same time, one refused, three about one account."""
    sql.do(
        """
        INSERT INTO audit_log (action, outcome, actor_id, target_id, ip, request_id, details, created_at) VALUES
            ('login.opened', 'done', %(admin)s, NULL, '203.0.113.7', 'r1', '{}', '2026-01-01T10:00Z'),
            ('login.failed', 'refused', NULL, %(other)s, NULL, 'r2', '{"evaluated": true}', '2026-01-02T10:00Z'),
            ('user.updated', 'done', %(admin)s, %(other)s, NULL, 'r3', '{"changed": ["role"]}', '2026-01-03T10:00Z'),
            ('user.updated', 'done', %(admin)s, %(other)s, NULL, 'r4', '{}', '2026-01-03T10:00Z'),
            ('user.updated', 'done', %(other)s, NULL, NULL, 'r5', '{}', '2026-01-04T10:00Z'),
            ('login.opened', 'done', %(admin)s, NULL, NULL, 'r6', '{}', '2026-01-05T10:00Z'),
            ('login.opened', 'done', %(admin)s, NULL, NULL, 'r7', '{}', '2026-01-06T10:00Z')
        """,
        {"admin": admin.id, "other": OTHER},
    )
    return sql


def search(client: TestClient, admin: User, **query: str | int) -> dict[str, Any]:
    response = client.get(f"{ADMIN}/audit", params=query, headers=admin.headers)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_an_entry_is_returned_as_it_was_recorded(admin_client: TestClient, admin: User, log: Sql) -> None:
    (entry,) = search(admin_client, admin, target=OTHER, outcome="refused")["entries"]
    assert entry == {
        "created_at": "2026-01-02T10:00:00Z",
        "action": "login.failed",
        "outcome": "refused",
        "actor_id": None,
        "target_id": OTHER,
        "ip": None,
        "request_id": "r2",
        "details": {"evaluated": True},
    }
    (entry,) = search(admin_client, admin, to="2026-01-02T00:00:00Z")["entries"]
    assert (entry["ip"], entry["actor_id"]) == ("203.0.113.7", admin.id)


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "r7 r6 r5 r4 r3 r2 r1"),
        ({"actor": "admin"}, "r7 r6 r4 r3 r1"),
        ({"actor": OTHER}, "r5"),
        ({"action": "user.updated"}, "r5 r4 r3"),
        ({"target": OTHER}, "r4 r3 r2"),
        ({"outcome": "refused"}, "r2"),
        ({"outcome": "refused", "action": "user.updated"}, ""),
        ({"actor": "admin", "action": "user.updated", "target": OTHER, "outcome": "done"}, "r4 r3"),
        ({"from": "2026-01-05T10:00:00Z"}, "r7 r6"),
        ({"from": "2026-01-05T11:00:00+01:00"}, "r7 r6"),
        ({"to": "2026-01-02T10:00:00Z"}, "r1"),
    ],
)
def test_search_returns_matching_entries_newest_first(
    admin_client: TestClient, admin: User, query: dict[str, str], expected: str
) -> None:
    if query.get("actor") == "admin":
        query = query | {"actor": admin.id}
    entries = search(admin_client, admin, **{"to": "2026-02-01T00:00:00Z"} | query)["entries"]
    assert [entry["request_id"] for entry in entries] == expected.split()


@pytest.mark.usefixtures("log")
def test_pages_have_no_gaps_or_duplicates_while_entries_are_added(
    admin_client: TestClient, admin: User, sql: Sql
) -> None:
    request_ids = []
    after: dict[str, str] = {}
    while True:
        part = search(admin_client, admin, limit=2, to="2026-02-01T00:00:00Z", **after)
        request_ids += [entry["request_id"] for entry in part["entries"]]
        if part["next"] is None:
            break
        assert len(part["entries"]) == 2
        after = {"after": part["next"]}
        sql.do(
            "INSERT INTO audit_log (action, outcome, request_id, created_at)"
            " VALUES ('login.opened', 'done', 'new', '2026-01-07T10:00Z')"
        )
    assert request_ids == ["r7", "r6", "r5", "r4", "r3", "r2", "r1"]
    assert search(admin_client, admin, limit=7, to="2026-01-06T11:00:00Z")["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        {"after": "x"},
        {"after": "f" * 22},
        {"from": "1767225600"},
        {"from": "2026-01-01T00:00:00"},
        {"from": "0001-01-01T00:00:00+14:00"},
        {"to": "9999-12-31T23:59:59-14:00"},
        {"action": "no.action"},
        {"offset": 7},
    ],
)
def test_invalid_filters_are_rejected(admin_client: TestClient, admin: User, query: dict[str, Any]) -> None:
    response = admin_client.get(f"{ADMIN}/audit", params=query, headers=admin.headers)
    (wrong,) = assert_problem(response, 422, "validation_error")["errors"]
    assert wrong["field"] == f"query.{next(iter(query))}"


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_csv_and_jsonl_exports_contain_the_entries_of_the_search(
    admin_client: TestClient, admin: User, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(audit_module, "_BATCH_SIZE", batch)
    query = {"target": OTHER, "to": "2026-02-01T00:00:00Z"}
    entries = search(admin_client, admin, **query)["entries"]
    assert len(entries) == 3
    jsonl = admin_client.get(f"{ADMIN}/audit/export", params=query | {"format": "jsonl"}, headers=admin.headers)
    assert jsonl.headers["Content-Type"] == "application/jsonl"
    assert [json.loads(line) for line in jsonl.text.splitlines()] == entries
    response = admin_client.get(f"{ADMIN}/audit/export", params=query, headers=admin.headers)
    assert response.headers["Content-Disposition"] == 'attachment; filename="audit-log.csv"'
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert response.text.count("\r\n") == 4
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert [row["request_id"] for row in rows] == ["r4", "r3", "r2"]
    assert [row["created_at"].replace("+00:00", "Z") for row in rows] == [entry["created_at"] for entry in entries]
    assert [json.loads(row["details"]) for row in rows] == [entry["details"] for entry in entries]
    assert (rows[2]["actor_id"], rows[2]["target_id"], rows[2]["ip"]) == ("", OTHER, "")


def test_an_export_is_recorded_in_the_audit_log(admin_client: TestClient, admin: User, sql: Sql) -> None:
    admin_client.get(f"{ADMIN}/audit/export", params={"outcome": "refused"}, headers=admin.headers)
    (entry,) = search(admin_client, admin, action="audit.exported")["entries"]
    assert (entry["actor_id"], entry["outcome"]) == (admin.id, "done")
    assert entry["details"] == {"outcome": "refused", "format": "csv"}


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("change", ["role = 'user'", "is_active = false"])
async def test_an_export_stops_when_the_caller_is_no_longer_an_admin(
    pool: Database, admin: User, sql: Sql, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(audit_module, "_BATCH_SIZE", 2)
    login = sql.value("SELECT uuid FROM auth_sessions")
    caller = Principal(id=0, uuid=UUID(admin.id), role="admin", is_verified=True, session_uuid=login)
    query = AuditExportQuery(format="jsonl")
    chunks = await audit_module.export_entries(pool, caller, query, RequestOrigin(None, None, None))
    assert (await anext(chunks)).count(b"\n") == 2
    assert (await anext(chunks)).count(b"\n") == 2
    sql.do(f"UPDATE users SET {change} WHERE uuid = %s", [admin.id])  # noqa: S608 - one of ours
    with pytest.raises(ForbiddenError):
        await anext(chunks)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("action = 'user.updated'", "ix_audit_log_action_created_at"),
        ("outcome = 'refused'", "ix_audit_log_refused_created_at"),
        (f"target_id = '{OTHER}'", "ix_audit_log_target_id_created_at"),
        (f"actor_id = '{OTHER}'", "ix_audit_log_actor_id_created_at"),
        ("true", "ix_audit_log_created_at"),
    ],
)
def test_searches_use_an_index(sql: Sql, query: str, index: str) -> None:
    sql.do(
        """
        INSERT INTO audit_log (action, outcome, actor_id, target_id, created_at)
        SELECT 'login.opened', 'done', gen_random_uuid(), gen_random_uuid(), now() - i * interval '1 second'
        FROM generate_series(1, 20000) AS i
        """
    )
    sql.do("ANALYZE audit_log")
    statement = f"SELECT * FROM audit_log WHERE {query} ORDER BY created_at DESC, id DESC LIMIT 50"  # noqa: S608
    plan = "\n".join(row["QUERY PLAN"] for row in sql.rows(f"EXPLAIN {statement}"))
    assert f"using {index}" in plan
