"""Routes of the analytics reports as CSV files."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.admin.analytics import cohorts, feedback_reports, model_reports, overview, usage_reports
from app.admin.analytics.time_ranges import TimeRange
from app.admin.csv_export import CsvRow, iterate_rows, write_csv
from app.admin.schemas.analytics import (
    ErrorRow,
    FeedbackRow,
    LatencyRow,
    ModelRow,
    OverviewRow,
    RetentionRow,
    UsageRow,
    UserRow,
)
from app.admin.schemas.analytics_queries import (
    ErrorQuery,
    FeedbackQuery,
    LatencyQuery,
    ListQuery,
    ModelQuery,
    RangeQuery,
    RetentionQuery,
    UsageQuery,
)
from app.http.authentication import AdminUser
from app.http.dependencies import EXPENSIVE, DatabaseDep, ResourcesDep
from app.http.errors import responses

_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "CSV file (RFC 4180) in UTF-8: a header with the field names, and the rows of the report.",
        "content": {"text/csv": {"schema": {"type": "string"}}},
        "headers": {"Content-Disposition": {"description": "Name of the file.", "schema": {"type": "string"}}},
    }
}

router = APIRouter(
    prefix="/reports",
    dependencies=[EXPENSIVE],
    default_response_class=StreamingResponse,
    responses=responses(422) | _FILE,
)


@router.get("/overview.csv")
async def get_overview_file(
    query: Annotated[RangeQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the totals of a period and of the one before it, one figure per line."""
    span = query.range(datetime.now(UTC))
    rows = overview.overview_rows(await overview.get_overview(database, span))
    return await _csv_response("overview", span, OverviewRow, iterate_rows(rows))


@router.get("/usage.csv")
async def get_usage_file(
    query: Annotated[UsageQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/usage`."""
    span = query.range(datetime.now(UTC))
    report = await usage_reports.get_usage_report(database, query, span)
    return await _csv_response("usage", span, UsageRow, iterate_rows(report.rows))


@router.get("/latency.csv")
async def get_latency_file(
    query: Annotated[LatencyQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/latency`."""
    span = query.range(datetime.now(UTC))
    report = await model_reports.get_latency_report(database, query, span)
    return await _csv_response("latency", span, LatencyRow, iterate_rows(report.rows))


@router.get("/errors.csv")
async def get_errors_file(
    query: Annotated[ErrorQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/errors`."""
    span = query.range(datetime.now(UTC))
    report = await model_reports.get_error_report(database, query, span)
    return await _csv_response("errors", span, ErrorRow, iterate_rows(report.rows))


@router.get("/models.csv")
async def get_models_file(
    query: Annotated[ModelQuery, Query()], _admin: AdminUser, resources: ResourcesDep
) -> StreamingResponse:
    """Return the rows of `/analytics/models`."""
    span, providers = query.range(datetime.now(UTC)), resources.settings.model_providers()
    report = await model_reports.get_model_report(resources.database, query, span, providers)
    return await _csv_response("models", span, ModelRow, iterate_rows(report.rows))


@router.get("/users.csv")
async def get_users_file(
    query: Annotated[ListQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/users` for all accounts with usage."""
    span = query.range(datetime.now(UTC))
    return await _csv_response("users", span, UserRow, usage_reports.stream_user_rows(database, query.order, span))


@router.get("/retention.csv")
async def get_retention_file(
    query: Annotated[RetentionQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/retention`."""
    span = query.range(datetime.now(UTC))
    report = await cohorts.get_retention_report(database, query, span)
    return await _csv_response("retention", span, RetentionRow, iterate_rows(report.rows))


@router.get("/feedback.csv")
async def get_feedback_file(
    query: Annotated[FeedbackQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> StreamingResponse:
    """Return the rows of `/analytics/feedback`."""
    span = query.range(datetime.now(UTC))
    report = await feedback_reports.get_feedback_report(database, query, span)
    return await _csv_response("feedback", span, FeedbackRow, iterate_rows(report.rows))


async def _csv_response(
    name: str, span: TimeRange, row_type: type[CsvRow], rows: AsyncGenerator[CsvRow]
) -> StreamingResponse:
    # The file is completed before the response starts, so that read errors return an error status, and no database
    # connection is held while the client downloads it.
    file = await write_csv(row_type, rows)
    dates = "_".join(f"{span.local(moment):%Y-%m-%d}" for moment in (span.start, span.end))
    return StreamingResponse(
        file.chunks,
        media_type="text/csv; charset=utf-8; header=present",
        headers={
            "Content-Disposition": f'attachment; filename="{name}_{dates}.csv"',
            "Content-Length": str(file.size),
        },
    )
