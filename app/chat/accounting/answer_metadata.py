"""Metadata of an answer: models, tokens, cost. It is computed from the ledger entries, so both agree."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from app.chat.accounting.cost import COST_PRECISION
from app.database.repositories.usage.ledger import LedgerEntry


def total_tokens(calls: Sequence[LedgerEntry]) -> int:
    """Return the sum of prompt and completion tokens of all attempts."""
    return sum(call.prompt_tokens + call.completion_tokens for call in calls)


def answer_metadata(calls: Sequence[LedgerEntry], *, model: str) -> dict[str, Any]:
    """Return the metadata fields that describe the attempts for an answer. `model` is the requested one."""
    last = calls[-1] if calls else None
    costs = [call.cost_usd for call in calls if call.cost_usd is not None]
    return {
        "attempts": len(calls),
        "model_requested": model,
        "model_used": last.model_used if last else None,
        "fallback_model": last.is_fallback if last else False,
        "fallback_reason": last.fallback_reason if last else None,
        "cached": last.is_cached if last else False,
        "tokens_used": {
            "input": sum(call.prompt_tokens for call in calls),
            "output": sum(call.completion_tokens for call in calls),
            "total": total_tokens(calls),
        },
        "tokens_estimated": any(call.is_estimated for call in calls),
        "cost_usd": f"{sum(costs, Decimal(0)).quantize(COST_PRECISION):f}" if len(costs) == len(calls) else None,
        "first_token_ms": last.first_token_ms if last else None,
    }
