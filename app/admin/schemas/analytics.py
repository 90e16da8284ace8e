"""What the analytics show. The rows of a report are flat: its CSV file has the same, with a column for each field."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from app.core.types import ResponseModel, Usd


class UsageFigures(ResponseModel):
    """Sums over what models were asked. Turns are questions, calls are single attempts at models."""

    turns: int = Field(description="Questions that reached a model; of a model, those that asked it first.")
    turns_failed: int | None = Field(description="No model answered. Null of a single model: a turn may ask several.")
    turns_cancelled: int = Field(description="Stopped by who had asked.")
    turns_by_fallback: int = Field(description="Another model than the first answered.")
    turns_cached: int = Field(description="Answered without asking a model.")
    calls: int
    calls_failed: int
    calls_estimated: int = Field(description="The provider gave no token counts: they are ours.")
    calls_unpriced: int = Field(description="Their price is not known: `cost_usd` is without them.")
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Usd = Field(description="US dollars, of all calls.")


class TurnRates(ResponseModel):
    """Shares of turns, from 0 to 1; 0 where there were none."""

    error_rate: float = Field(description="`turns_failed` / `turns`.")
    fallback_rate: float = Field(description="`turns_by_fallback` / `turns`.")
    cache_hit_rate: float = Field(description="`turns_cached` / `turns`.")


class Percentiles(ResponseModel):
    """Milliseconds that models took: so many of a hundred took no longer. Null where there was nothing to measure."""

    latency_p50_ms: int | None
    latency_p90_ms: int | None
    latency_p95_ms: int | None
    latency_p99_ms: int | None
    first_token_p50_ms: int | None
    first_token_p90_ms: int | None
    first_token_p95_ms: int | None
    first_token_p99_ms: int | None


class Report(ResponseModel):
    """What a report is about: a half-open range, and the time zone by whose clocks it is told."""

    from_: datetime = Field(serialization_alias="from")
    to: datetime
    timezone: str


class BucketRow(ResponseModel):
    """Figures of a bucket, which is half-open."""

    start: datetime
    end: datetime


class UsageRow(UsageFigures, BucketRow):
    """The usage in a bucket, of everybody or of one group."""

    group: str | None = Field(
        description="Name of the model, or id of the account. Null: everybody or, beside others, whoever is not listed."
    )
    name: str | None = Field(description="Of the account.")


class UsageReport(Report):
    """What was used, bucket by bucket. The rows, summed up, are `totals`."""

    bucket: Literal["hour", "day", "week"]
    group_by: Literal["none", "model", "user"]
    totals: UsageFigures
    rows: list[UsageRow] = Field(description="One for each bucket and group, also where nothing was used.")


class LatencyRow(Percentiles, BucketRow):
    """How long models took in a bucket."""

    model: str | None = Field(description="As it was asked for. Null: all of them together.")
    calls: int = Field(description="Calls that were measured.")
    streams: int = Field(description="Those of them whose first token was, too.")


class LatencyReport(Report):
    """How long models took, bucket by bucket."""

    bucket: Literal["hour", "day", "week"]
    group_by: Literal["none", "model"]
    totals: Percentiles = Field(description="Of the whole range and all models.")
    rows: list[LatencyRow]


class ErrorRow(ResponseModel):
    """How often a model failed in a certain way."""

    model: str = Field(description="As it was asked for.")
    error_code: str
    calls: int = Field(description="Calls that ended so.")
    share: float = Field(description="Of all calls of the model, from 0 to 1.")


class ErrorReport(Report):
    """How models failed."""

    calls: int
    calls_failed: int = Field(description="Those of the rows, summed up.")
    error_rate: float = Field(description="`calls_failed` / `calls`; 0 where there were none.")
    rows: list[ErrorRow] = Field(description="What happened most often comes first.")


class ModelRow(Percentiles, UsageFigures):
    """What a model did."""

    model: str = Field(description="As it was asked for.")
    error_rate: float = Field(description="`calls_failed` / `calls`; 0 where there were none.")


class ModelReport(Report):
    """What each model did."""

    totals: UsageFigures
    rows: list[ModelRow]


class UserRow(TurnRates, UsageFigures):
    """What an account used."""

    user_id: UUID | None = Field(description="Null: all others together, erased accounts among them.")
    username: str | None


class UserReport(Report):
    """Who used most."""

    totals: UsageFigures = Field(description="Of everybody: the rows, summed up.")
    rows: list[UserRow]


class RetentionRow(ResponseModel):
    """How many of a cohort were active in a period."""

    cohort_start: datetime
    cohort_end: datetime
    users: int = Field(description="Registered then, and not erased since.")
    period: int = Field(description="0: the cohort's own week or month; 1: the one after it, and so on.")
    period_start: datetime
    period_end: datetime
    active: int = Field(description="Those of them who had a model asked something in the period.")
    share: float = Field(description="`active` / `users`; 0 where there were none.")


class RetentionReport(Report):
    """Who came back. The last period is cut short by the end of the range."""

    cohort: Literal["week", "month"]
    rows: list[RetentionRow]


class PeriodFigures(TurnRates, UsageFigures, Report):
    """What happened in a period."""

    users_registered: int = Field(description="And not erased since.")
    users_active: int = Field(description="Had a model asked something; accounts that have been erased are left out.")
    sessions: int = Field(description="Opened, and not deleted since.")
    messages: int = Field(description="Stored, and not deleted since.")


class UserCounts(ResponseModel):
    """Accounts."""

    total: int
    enabled: int = Field(description="Not disabled.")
    active: int = Field(description="Asked a question in the period.")


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
    """The whole system in figures, all of the same moment: of all time, of a period, and of the one before it."""

    generated_at: datetime
    users: UserCounts
    sessions: int
    messages: int
    turns: TurnCounts
    model_calls: CallCounts
    tokens: TokenCounts
    cost_usd: Usd = Field(description="US dollars, of all attempts.")
    period: PeriodFigures
    previous: PeriodFigures = Field(description="As long, and just before it.")


class OverviewRow(ResponseModel):
    """One figure of the overview as a file."""

    figure: str
    period: int | float | str
    previous: int | float | str
