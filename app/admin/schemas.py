"""What the admin service gives."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from app.core.types import RequestModel, ResponseModel, Usd


class UserCounts(ResponseModel):
    """Accounts."""

    total: int
    enabled: int = Field(description="Not disabled.")
    active: int = Field(description="Asked a question in the last 30 days.")


class TurnCounts(ResponseModel):
    """Questions that reached a model, those of deleted sessions included."""

    total: int
    failed: int = Field(description="No model answered.")
    by_fallback_model: int = Field(description="Another model than the first answered.")
    error_rate: float = Field(description="`failed` / `total`; 0 where there were none.")
    fallback_rate: float = Field(description="`by_fallback_model` / `total`; 0 where there were none.")


class CallCounts(ResponseModel):
    """Single attempts at models."""

    total: int
    failed: int
    cached: int = Field(description="Answered without asking a model.")
    unpriced: int = Field(description="Their price is not known: `cost_usd` is without them.")


class TokenCounts(ResponseModel):
    """Tokens of all attempts."""

    prompt: int
    completion: int
    total: int


class Overview(ResponseModel):
    """The whole system in figures, all of the same moment."""

    generated_at: datetime
    users: UserCounts
    sessions: int
    messages: int
    turns: TurnCounts
    model_calls: CallCounts
    tokens: TokenCounts
    cost_usd: Usd = Field(description="US dollars, of all attempts.")


Tokens = Annotated[int, Field(ge=0, le=10**15)]
Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=9, allow_inf_nan=False)]


class QuotaUpdate(RequestModel):
    """An account's own quotas. What is left out stays as it is; `null`: as everybody's; 0: no limit."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    tokens_per_day: Tokens | None = Field(None, examples=[200_000])
    tokens_per_month: Tokens | None = Field(None, examples=[2_000_000])
    cost_per_day: Dollars | None = Field(None, examples=["2.50"], description="US dollars.")
    cost_per_month: Dollars | None = Field(None, examples=["20"], description="US dollars.")

    @model_validator(mode="after")
    def _refuse_nothing(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must name at least one field")
        return self
