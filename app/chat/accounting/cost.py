"""Cost and provider of an attempt."""

from decimal import Decimal
from typing import Protocol


class PriceList(Protocol):
    """Prices and providers of the models; see `ModelCatalog`."""

    def cost(
        self, model_used: str, prompt_tokens: int, completion_tokens: int, *, requested: str | None = None
    ) -> Decimal | None:
        """Return the cost in US dollars. None: the price is not known."""
        ...

    def provider_of(self, name: str) -> str:
        """Return the name of the provider of a model."""
        ...


COST_PRECISION = Decimal("1e-9")
"""Precision of the ledger in US dollars."""


def cost_usd(
    prices: PriceList, *, requested: str, used: str | None, prompt_tokens: int, completion_tokens: int
) -> Decimal | None:
    """Return the cost of one attempt in US dollars, rounded as in the ledger. None: the price is not known."""
    if prompt_tokens == completion_tokens == 0:
        return Decimal(0)
    cost = prices.cost(used or requested, prompt_tokens, completion_tokens, requested=requested)
    return None if cost is None else cost.quantize(COST_PRECISION)
