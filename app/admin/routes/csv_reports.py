"""The analytics as files, with the same figures."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.admin.analytics import cohorts, model_reports, overview, usage_reports
from app.admin.analytics.time_ranges import TimeRange
from app.admin.csv_export import Row, iterate_rows, write_csv
from app.admin.schemas.analytics import (
    ErrorRow,
    LatencyRow,
    ModelRow,
    OverviewRow,
    RetentionRow,
    UsageRow,
    UserRow,
)
from app.admin.schemas.analytics_queries import LatencyQuery, ListQuery, RangeQuery, RetentionQuery, UsageQuery
from app.http.dependencies import AdminUser, DatabaseDep
from app.http.errors import responses

_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "RFC 4180, in UTF-8: the names of the fields, and the rows of the report.",
        "content": {"text/csv": {"schema": {"type": "string"}}},
        "headers": {"Content-Disposition": {"description": "The name of the file.", "schema": {"type": "string"}}},
    }
}

router = APIRouter(prefix="/reports", default_response_class=StreamingResponse, responses=responses(422) | _FILE)


@router.get("/overview.csv")
async def get_overview_file(
    query: Annotated[RangeQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the figures of a period and of the one before it, a line each."""
    span = query.range(datetime.now(UTC))
    rows = overview.overview_rows(await overview.get_overview(database, span))
    return await _file("overview", span, OverviewRow, iterate_rows(rows))


@router.get("/usage.csv")
async def get_usage_file(
    query: Annotated[UsageQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/usage`."""
    span = query.range(datetime.now(UTC))
    report = await usage_reports.usage_report(database, query, span)
    return await _file("usage", span, UsageRow, iterate_rows(report.rows))


@router.get("/latency.csv")
async def get_latency_file(
    query: Annotated[LatencyQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/latency`."""
    span = query.range(datetime.now(UTC))
    report = await model_reports.latency_report(database, query, span)
    return await _file("latency", span, LatencyRow, iterate_rows(report.rows))


@router.get("/errors.csv")
async def get_errors_file(
    query: Annotated[RangeQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/errors`."""
    span = query.range(datetime.now(UTC))
    report = await model_reports.error_report(database, span)
    return await _file("errors", span, ErrorRow, iterate_rows(report.rows))


@router.get("/models.csv")
async def get_models_file(
    query: Annotated[ListQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/models`."""
    span = query.range(datetime.now(UTC))
    report = await model_reports.model_report(database, query, span)
    return await _file("models", span, ModelRow, iterate_rows(report.rows))


@router.get("/users.csv")
async def get_users_file(
    query: Annotated[ListQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/users`, of all accounts that used anything."""
    span = query.range(datetime.now(UTC))
    return await _file("users", span, UserRow, usage_reports.all_user_rows(database, query.order, span))


@router.get("/retention.csv")
async def get_retention_file(
    query: Annotated[RetentionQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/retention`."""
    span = query.range(datetime.now(UTC))
    report = await cohorts.retention_report(database, query, span)
    return await _file("retention", span, RetentionRow, iterate_rows(report.rows))


async def _file(name: str, span: TimeRange, kind: type[Row], rows: AsyncGenerator[Row]) -> StreamingResponse:
    # Read to its end first: what cannot be read is refused, all is of one moment, and no connection is held while the
    # client takes it.
    file = await write_csv(kind, rows)
    dates = "_".join(f"{span.local(moment):%Y-%m-%d}" for moment in (span.start, span.end))
    return StreamingResponse(
        file.pieces,
        media_type="text/csv; charset=utf-8; header=present",
        headers={
            "Content-Disposition": f'attachment; filename="{name}_{dates}.csv"',
            "Content-Length": str(file.size),
        },
    )
