"""What was used, and how it went. The same as files: `reports`."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from app.admin.analytics import cohorts, model_reports, overview, usage_reports
from app.admin.schemas.analytics import (
    ErrorReport,
    LatencyReport,
    ModelReport,
    Overview,
    RetentionReport,
    UsageReport,
    UserReport,
)
from app.admin.schemas.analytics_queries import (
    LatencyQuery,
    ListQuery,
    RangeQuery,
    RetentionQuery,
    TopQuery,
    UsageQuery,
)
from app.http.dependencies import AdminUser, DatabaseDep
from app.http.errors import responses

router = APIRouter(responses=responses(422))


@router.get("/overview")
async def get_overview(query: Annotated[RangeQuery, Query()], _admin: AdminUser, database: DatabaseDep) -> Overview:
    """Return the system's figures: of all time, of a period, and of the one before it."""
    return await overview.get_overview(database, query.range(datetime.now(UTC)))


@router.get("/analytics/usage")
async def get_usage_report(
    query: Annotated[UsageQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> UsageReport:
    """Return what was used by time, of everybody, by model or by account."""
    return await usage_reports.usage_report(database, query, query.range(datetime.now(UTC)))


@router.get("/analytics/latency")
async def get_latency_report(
    query: Annotated[LatencyQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> LatencyReport:
    """Return how long answers of models took, and how long until their first token, by time.

    Answers out of the cache, and calls that failed or were stopped, are not measured.
    """
    return await model_reports.latency_report(database, query, query.range(datetime.now(UTC)))


@router.get("/analytics/errors")
async def get_error_report(
    query: Annotated[RangeQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> ErrorReport:
    """Return how often each model failed in which way."""
    return await model_reports.error_report(database, query.range(datetime.now(UTC)))


@router.get("/analytics/models")
async def get_model_report(
    query: Annotated[ListQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> ModelReport:
    """Return what each model did."""
    return await model_reports.model_report(database, query, query.range(datetime.now(UTC)))


@router.get("/analytics/users")
async def get_user_report(query: Annotated[TopQuery, Query()], _admin: AdminUser, database: DatabaseDep) -> UserReport:
    """Return the accounts that used most."""
    return await usage_reports.user_report(database, query, query.range(datetime.now(UTC)))


@router.get("/analytics/retention")
async def get_retention_report(
    query: Annotated[RetentionQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> RetentionReport:
    """Return how many of those who registered in the same week or month were active later.

    `from` goes back to the beginning of its week or month.
    """
    return await cohorts.retention_report(database, query, query.range(datetime.now(UTC)))
