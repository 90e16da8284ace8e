"""Figures about the whole system."""

from datetime import timedelta

from app.admin.schemas.analytics import CallCounts, Overview, TokenCounts, TurnCounts, UserCounts
from app.database.connection import DatabaseSession
from app.database.repositories import analytics

ACTIVE_WITHIN = timedelta(days=30)


async def overview(transaction: DatabaseSession) -> Overview:
    """Count everything there is."""
    totals = await analytics.totals(transaction, active_within=ACTIVE_WITHIN)
    return Overview(
        generated_at=totals.generated_at,
        users=UserCounts(total=totals.users, enabled=totals.users_enabled, active=totals.users_active),
        sessions=totals.sessions,
        messages=totals.messages,
        turns=TurnCounts(
            total=totals.turns,
            failed=totals.turns_failed,
            by_fallback_model=totals.turns_by_fallback,
            error_rate=_rate(totals.turns_failed, totals.turns),
            fallback_rate=_rate(totals.turns_by_fallback, totals.turns),
        ),
        model_calls=CallCounts(
            total=totals.calls,
            failed=totals.calls_failed,
            cached=totals.calls_cached,
            unpriced=totals.calls_unpriced,
        ),
        tokens=TokenCounts(
            prompt=totals.prompt_tokens,
            completion=totals.completion_tokens,
            total=totals.prompt_tokens + totals.completion_tokens,
        ),
        cost_usd=totals.cost_usd,
    )


def _rate(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
