"""Response schemas of usage, shared by the chat and admin APIs."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field

from app.core.schema_types import ResponseModel, Usd
from app.database.repositories.usage.exact_usage import UsageTotals
from app.database.repositories.usage.totals import Period


class Usage(ResponseModel):
    """Model calls, tokens and cost. Deleting sessions or messages does not change them."""

    turns: int = Field(description="Questions that were sent to a model or answered from the cache.")
    calls: int = Field(description="Attempts at model calls, including those for summaries.")
    cached_answers: int = Field(description="Answers from the cache, which use no tokens and cost nothing.")
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Usd = Field(examples=["0.000012450"], description="Exact cost in US dollars.")
    unpriced_calls: int = Field(description="Attempts whose price is unknown; `cost_usd` does not include them.")

    @classmethod
    def of(cls, totals: UsageTotals) -> Self:
        """Return the response for totals of the ledger."""
        return cls(
            turns=totals.turns,
            calls=totals.calls,
            cached_answers=totals.cached,
            prompt_tokens=totals.prompt_tokens,
            completion_tokens=totals.completion_tokens,
            total_tokens=totals.prompt_tokens + totals.completion_tokens,
            cost_usd=totals.cost_usd,
            unpriced_calls=totals.unpriced,
        )


class UserUsage(ResponseModel):
    """Usage of an account. Days and months start at midnight UTC."""

    today: Usage
    month: Usage
    total: Usage

    @classmethod
    def of(cls, periods: Mapping[Period, UsageTotals]) -> Self:
        """Return the response for the totals of each period."""
        return cls(**{name: Usage.of(totals) for name, totals in periods.items()})
