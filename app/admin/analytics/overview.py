"""The whole system in figures."""

from app.admin.analytics.report_fields import heading, rates, share, usage
from app.admin.analytics.time_ranges import Range
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
from app.database.repositories.analytics.overview import Period


async def show(database: Database, span: Range) -> Overview:
    """Count everything there is, and compare a period with the one before it."""
    before = span.before()
    async with database.reading() as session:
        counts = await overview.read(session, before.start, span.start, span.end)
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
        period=_figures(span, counts.later),
        previous=_figures(before, counts.earlier),
    )


def _figures(span: Range, period: Period) -> PeriodFigures:
    return PeriodFigures(
        **heading(span),
        users_registered=period.users_registered,
        users_active=period.users_active,
        sessions=period.sessions,
        messages=period.messages,
        **usage(period.usage),
        **rates(period.usage),
    )


def rows(shown: Overview) -> list[OverviewRow]:
    """Return the figures of the two periods, a row each."""
    period, previous = (each.model_dump(mode="json", by_alias=True) for each in (shown.period, shown.previous))
    return [OverviewRow(figure=name, period=period[name], previous=previous[name]) for name in period]
