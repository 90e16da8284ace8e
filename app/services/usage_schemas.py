"""What was used, as users and admins see it."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field

from app.core.types import ResponseModel, Usd
from app.database.repositories.usage.totals import Period
from app.database.repositories.usage.totals import UsageTotals as UsageSums


class Usage(ResponseModel):
    """What models were asked for, and what it cost. Deleting what they answered changes nothing here."""

    turns: int = Field(description="Questions that reached a model, or were answered from the cache.")
    calls: int = Field(description="Single attempts at models, those for summaries included.")
    cached_answers: int = Field(description="Known already: they took no tokens and cost nothing.")
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Usd = Field(examples=["0.000012450"], description="US dollars, exactly.")
    unpriced_calls: int = Field(description="Attempts whose price is not known: `cost_usd` is without them.")

    @classmethod
    def of(cls, sums: UsageSums) -> Self:
        """Show sums over the ledger."""
        return cls(
            turns=sums.turns,
            calls=sums.calls,
            cached_answers=sums.cached,
            prompt_tokens=sums.prompt_tokens,
            completion_tokens=sums.completion_tokens,
            total_tokens=sums.prompt_tokens + sums.completion_tokens,
            cost_usd=sums.cost_usd,
            unpriced_calls=sums.unpriced,
        )


class UserUsage(ResponseModel):
    """What an account has used. Days and months begin at midnight in UTC."""

    today: Usage
    month: Usage
    total: Usage

    @classmethod
    def of(cls, periods: Mapping[Period, UsageSums]) -> Self:
        """Show the sums of each."""
        return cls(**{name: Usage.of(sums) for name, sums in periods.items()})
