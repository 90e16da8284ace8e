"""How an answer came about, for its metadata. It is made of what the ledger is told, so both say the same."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Protocol

from app.database.repositories.usage.ledger import LedgerEntry


class PriceFunction(Protocol):
    """What so many tokens of a model cost; see `Catalog.cost`."""

    def __call__(
        self, model_used: str, prompt_tokens: int, completion_tokens: int, *, requested: str | None = None
    ) -> Decimal | None:
        """Return US dollars. None: the price is not known."""
        ...


_COST_PRECISION = Decimal("1e-9")
"""US dollars: what the ledger keeps."""


def cost_usd(
    price: PriceFunction, *, requested: str, used: str | None, prompt_tokens: int, completion_tokens: int
) -> Decimal | None:
    """Return the cost of one attempt, as exact as the ledger. None: the price is not known."""
    if prompt_tokens == completion_tokens == 0:
        return Decimal(0)
    cost = price(used or requested, prompt_tokens, completion_tokens, requested=requested)
    return None if cost is None else cost.quantize(_COST_PRECISION)


def total_tokens(calls: Sequence[LedgerEntry]) -> int:
    """Return the tokens of all attempts."""
    return sum(call.prompt_tokens + call.completion_tokens for call in calls)


def answer_metadata(calls: Sequence[LedgerEntry], *, model: str) -> dict[str, Any]:
    """Return what the metadata of an answer says of the attempts that were made for it. `model`: the one asked for."""
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
        "cost_usd": f"{sum(costs, Decimal(0)).quantize(_COST_PRECISION):f}" if len(costs) == len(calls) else None,
        "first_token_ms": last.first_token_ms if last else None,
    }
