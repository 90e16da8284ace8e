"""Ledger entries of the attempts that the graph made."""

from collections.abc import Sequence
from typing import Literal

from app.chat.accounting.cost import PriceList, cost_usd
from app.database.repositories.usage.ledger import CallPurpose, LedgerEntry
from app.graph.attempt_record import ModelAttempt


def ledger_entries(
    attempts: Sequence[ModelAttempt], prices: PriceList, *, purpose: CallPurpose = "answer"
) -> list[LedgerEntry]:
    """Return the ledger entries of the attempts for one answer or summary, numbered from 1."""
    return [_ledger_entry(number, attempt, prices, purpose) for number, attempt in enumerate(attempts, 1)]


def _ledger_entry(number: int, attempt: ModelAttempt, prices: PriceList, purpose: CallPurpose) -> LedgerEntry:
    completion, token_counts = attempt.completion, attempt.token_counts
    status: Literal["ok", "error", "cancelled"] = "ok"
    if completion is None:
        status = "error" if attempt.error_code else "cancelled"
    model_used = completion.model if completion else None
    return LedgerEntry(
        attempt=number,
        model_requested=attempt.model_requested,
        model_used=model_used,
        is_fallback=attempt.is_fallback,
        status=status,
        error_code=attempt.error_code,
        prompt_tokens=token_counts.prompt_tokens,
        completion_tokens=token_counts.completion_tokens,
        is_estimated=token_counts.is_estimated,
        latency_ms=attempt.latency_ms,
        first_token_ms=attempt.first_token_ms,
        cost_usd=cost_usd(
            prices,
            requested=attempt.model_requested,
            used=model_used,
            prompt_tokens=token_counts.prompt_tokens,
            completion_tokens=token_counts.completion_tokens,
        ),
        is_cached=completion is not None and completion.is_cached,
        purpose=purpose,
        fallback_reason=attempt.fallback_reason,
        provider=prices.provider_of(attempt.model_requested),
    )
