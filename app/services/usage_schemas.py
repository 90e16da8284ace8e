"""Response schemas of usage, shared by the chat and admin APIs."""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Self

from pydantic import Field

from app.core.schema_types import ResponseModel, Usd
from app.database.repositories.usage.exact_usage import COUNTERS, UsageTotals
from app.database.repositories.usage.totals import Period


class Usage(ResponseModel):
    """Model calls, tokens and cost. Deleting sessions or messages does not change them."""

    turns: int = Field(
        description="Questions and requests for another answer for which a model was called, or that were answered "
        "from the cache."
    )
    calls: int = Field(description="Attempts at model calls, including those for summaries and titles.")
    cached_answers: int = Field(
        description="Answers from the cache, or by a call that another turn accounts for. They use no tokens and cost "
        "nothing."
    )
    prompt_tokens: int = Field(description="Tokens that were sent.")
    completion_tokens: int = Field(description="Tokens that were received.")
    total_tokens: int = Field(description="All tokens: `prompt_tokens` + `completion_tokens`.")
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


class DailyUsage(Usage):
    """Usage of one day, which begins at midnight UTC."""

    day: date = Field(description="The day, in UTC.")


class UsageByDay(ResponseModel):
    """Usage of an account by day: one entry for each day, oldest first, also for days without usage."""

    days: list[DailyUsage] = Field(description="One entry for each day.")

    @classmethod
    def of(cls, totals: Mapping[date, UsageTotals], today: date, length: int) -> Self:
        """Return the response for `length` days up to today."""
        dates = [today - timedelta(days=age) for age in reversed(range(length))]
        nothing = UsageTotals(**{name: 0 for name in COUNTERS if name != "cost_usd"}, cost_usd=Decimal(0))
        return cls(days=[DailyUsage(day=day, **Usage.of(totals.get(day, nothing)).model_dump()) for day in dates])


class UserUsage(ResponseModel):
    """Usage of an account. Days and months start at midnight UTC."""

    today: Usage = Field(description="Usage since midnight UTC.")
    month: Usage = Field(description="Usage since the start of the month in UTC.")
    total: Usage = Field(description="Usage of all time.")

    @classmethod
    def of(cls, periods: Mapping[Period, UsageTotals]) -> Self:
        """Return the response for the totals of each period."""
        return cls(**{name: Usage.of(totals) for name, totals in periods.items()})
