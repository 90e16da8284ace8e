"""What the analytics show."""

from datetime import datetime

from pydantic import Field

from app.core.types import ResponseModel, Usd


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
