"""Cost of an attempt."""

from decimal import Decimal
from typing import Protocol


class PriceFunction(Protocol):
    """Price of a number of tokens; see `ModelCatalog.cost`."""

    def __call__(
        self, model_used: str, prompt_tokens: int, completion_tokens: int, *, requested: str | None = None
    ) -> Decimal | None:
        """Return the cost in US dollars. None: the price is not known."""
        ...


COST_PRECISION = Decimal("1e-9")
"""Precision of the ledger in US dollars."""


def cost_usd(
    price: PriceFunction, *, requested: str, used: str | None, prompt_tokens: int, completion_tokens: int
) -> Decimal | None:
    """Return the cost of one attempt in US dollars, rounded as in the ledger. None: the price is not known."""
    if prompt_tokens == completion_tokens == 0:
        return Decimal(0)
    cost = price(used or requested, prompt_tokens, completion_tokens, requested=requested)
    return None if cost is None else cost.quantize(COST_PRECISION)
