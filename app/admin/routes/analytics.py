"""Routes of the analytics reports as JSON. `csv_reports` has the same reports as CSV files."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from app.admin.analytics import cohorts, feedback_reports, model_reports, overview, usage_reports
from app.admin.schemas.analytics import (
    ErrorReport,
    FeedbackReport,
    LatencyReport,
    ModelReport,
    Overview,
    RetentionReport,
    UsageReport,
    UserReport,
)
from app.admin.schemas.analytics_queries import (
    ErrorQuery,
    FeedbackQuery,
    LatencyQuery,
    ModelQuery,
    RangeQuery,
    RetentionQuery,
    TopQuery,
    UsageQuery,
)
from app.http.authentication import AdminUser
from app.http.dependencies import EXPENSIVE, DatabaseDep, ResourcesDep
from app.http.errors import responses

router = APIRouter(dependencies=[EXPENSIVE], responses=responses(422))


@router.get("/overview")
async def get_overview(query: Annotated[RangeQuery, Query()], _admin: AdminUser, database: DatabaseDep) -> Overview:
    """Return totals of all time, of a period and of the one before it."""
    return await overview.get_overview(database, query.range(datetime.now(UTC)))


@router.get("/analytics/usage")
async def get_usage_report(
    query: Annotated[UsageQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> UsageReport:
    """Return the usage by time, in total, by model, by provider or by account."""
    return await usage_reports.get_usage_report(database, query, query.range(datetime.now(UTC)))


@router.get("/analytics/latency")
async def get_latency_report(
    query: Annotated[LatencyQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> LatencyReport:
    """Return percentiles of the latency and of the time to first token, by time, in total, by model or by provider.

    Cached answers and failed or cancelled calls are not measured.
    """
    return await model_reports.get_latency_report(database, query, query.range(datetime.now(UTC)))


@router.get("/analytics/errors")
async def get_error_report(
    query: Annotated[ErrorQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> ErrorReport:
    """Return the number of failed calls by error code, and by model or provider."""
    return await model_reports.get_error_report(database, query, query.range(datetime.now(UTC)))


@router.get("/analytics/models")
async def get_model_report(
    query: Annotated[ModelQuery, Query()], _admin: AdminUser, resources: ResourcesDep
) -> ModelReport:
    """Return usage and latency by model."""
    span, providers = query.range(datetime.now(UTC)), resources.settings.model_providers()
    return await model_reports.get_model_report(resources.database, query, span, providers)


@router.get("/analytics/users")
async def get_user_report(query: Annotated[TopQuery, Query()], _admin: AdminUser, database: DatabaseDep) -> UserReport:
    """Return the accounts with the most usage."""
    return await usage_reports.get_user_report(database, query, query.range(datetime.now(UTC)))


@router.get("/analytics/retention")
async def get_retention_report(
    query: Annotated[RetentionQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> RetentionReport:
    """Return cohort retention: how many accounts of each week or month of registration were active later.

    `from` is moved back to the start of its week or month.
    """
    return await cohorts.get_retention_report(database, query, query.range(datetime.now(UTC)))


@router.get("/analytics/feedback")
async def get_feedback_report(
    query: Annotated[FeedbackQuery, Query()], _admin: AdminUser, database: DatabaseDep
) -> FeedbackReport:
    """Return the number of ratings of answers by time, in total, by model or by reason.

    A rating is counted at the time when its answer was first rated, also after the answer has been deleted.
    """
    return await feedback_reports.get_feedback_report(database, query, query.range(datetime.now(UTC)))
