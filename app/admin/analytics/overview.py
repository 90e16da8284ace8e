"""Overview report: totals of all time, of a period and of the one before it."""

from app.admin.analytics.report_fields import rate_fields, report_fields, share, usage_fields
from app.admin.analytics.time_ranges import TimeRange
from app.admin.schemas.analytics import (
    CallCounts,
    Overview,
    OverviewRow,
    PeriodFigures,
    TokenCounts,
    TurnCounts,
    UserCounts,
)
from app.database.connection import Database
from app.database.repositories.analytics import overview
from app.database.repositories.analytics.overview import PeriodTotals


async def get_overview(database: Database, span: TimeRange) -> Overview:
    """Return the totals of all time, of a period, and of the previous period of the same length."""
    previous = span.previous()
    async with database.read_only() as session:
        counts = await overview.read_totals(session, previous.start, span.start, span.end)
    all_time = counts.usage
    return Overview(
        generated_at=counts.generated_at,
        users=UserCounts(total=counts.users, enabled=counts.users_enabled, active=counts.later.users_active),
        sessions=counts.sessions,
        messages=counts.messages,
        turns=TurnCounts(
            total=all_time.turns,
            failed=all_time.turns_failed,
            by_fallback_model=all_time.turns_by_fallback,
            error_rate=share(all_time.turns_failed, all_time.turns),
            fallback_rate=share(all_time.turns_by_fallback, all_time.turns),
        ),
        model_calls=CallCounts(
            total=all_time.calls,
            failed=all_time.calls_failed,
            cached=all_time.turns_cached,
            unpriced=all_time.calls_unpriced,
        ),
        tokens=TokenCounts(
            prompt=all_time.prompt_tokens, completion=all_time.completion_tokens, total=all_time.total_tokens
        ),
        cost_usd=all_time.cost_usd,
        period=_period_figures(span, counts.later),
        previous=_period_figures(previous, counts.earlier),
    )


def _period_figures(span: TimeRange, period: PeriodTotals) -> PeriodFigures:
    return PeriodFigures(
        **report_fields(span),
        users_registered=period.users_registered,
        users_active=period.users_active,
        sessions=period.sessions,
        messages=period.messages,
        **usage_fields(period.usage),
        **rate_fields(period.usage),
    )


def overview_rows(report: Overview) -> list[OverviewRow]:
    """Return one row for each figure, with its values in the two periods."""
    period, previous = (each.model_dump(mode="json", by_alias=True) for each in (report.period, report.previous))
    return [OverviewRow(figure=name, period=period[name], previous=previous[name]) for name in period]
