"""Response schemas of the analytics reports. Rows are flat, because the CSV files have a column for each field."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from app.core.schema_types import ResponseModel, Usd


class UsageFigures(ResponseModel):
    """Usage totals. A turn is a question; a call is one attempt at a model call."""

    turns: int = Field(
        description="Questions that were sent to a model. For a single model: those for which it was called first."
    )
    turns_failed: int | None = Field(
        description="Turns that no model answered. Null for a single model, because a turn may call several."
    )
    turns_cancelled: int = Field(description="Turns that were cancelled.")
    turns_by_fallback: int = Field(description="Turns that a fallback model answered.")
    turns_cached: int = Field(description="Turns answered from the response cache.")
    calls: int
    calls_failed: int
    calls_estimated: int = Field(
        description="Calls whose token counts are estimates, because the provider returned none."
    )
    calls_unpriced: int = Field(description="Calls whose price is not known. `cost_usd` does not include them.")
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Usd = Field(description="Cost of all calls in US dollars.")


class TurnRates(ResponseModel):
    """Shares of turns, from 0 to 1; 0 without turns."""

    error_rate: float = Field(description="`turns_failed` / `turns`.")
    fallback_rate: float = Field(description="`turns_by_fallback` / `turns`.")
    cache_hit_rate: float = Field(description="`turns_cached` / `turns`.")


class Percentiles(ResponseModel):
    """Percentiles of the latency and of the time to first token in milliseconds. Null without measurements."""

    latency_p50_ms: int | None
    latency_p90_ms: int | None
    latency_p95_ms: int | None
    latency_p99_ms: int | None
    first_token_p50_ms: int | None
    first_token_p90_ms: int | None
    first_token_p95_ms: int | None
    first_token_p99_ms: int | None


class Report(ResponseModel):
    """Time range of a report, half-open, and the time zone of its times."""

    from_: datetime = Field(serialization_alias="from")
    to: datetime
    timezone: str


class BucketRow(ResponseModel):
    """Half-open time bucket of a report."""

    start: datetime
    end: datetime


class UsageRow(UsageFigures, BucketRow):
    """Usage in a bucket, in total or of one group."""

    group: str | None = Field(
        description="Name of the model, or id of the account. Null: the total or, beside other groups, the remainder."
    )
    name: str | None = Field(description="User name of the account.")


class UsageReport(Report):
    """Usage by bucket. `totals` is the sum of the rows."""

    bucket: Literal["hour", "day", "week"]
    group_by: Literal["none", "model", "user"]
    totals: UsageFigures
    rows: list[UsageRow] = Field(description="One row for each bucket and group, including those without usage.")


class LatencyRow(Percentiles, BucketRow):
    """Latency in a bucket."""

    model: str | None = Field(description="Requested model. Null: all models.")
    calls: int = Field(description="Number of measured calls.")
    streams: int = Field(description="Number of those with a measured time to first token.")


class LatencyReport(Report):
    """Latency percentiles by bucket."""

    bucket: Literal["hour", "day", "week"]
    group_by: Literal["none", "model"]
    totals: Percentiles = Field(description="Percentiles of the whole range and all models.")
    rows: list[LatencyRow]


class FeedbackFigures(ResponseModel):
    """Number of rated answers."""

    ratings: int = Field(description="`up` + `down`.")
    up: int
    down: int
    share_up: float | None = Field(description="`up` / `ratings`, from 0 to 1; null without ratings.")


class FeedbackRow(FeedbackFigures, BucketRow):
    """Ratings in a bucket, in total or of one group."""

    group: str | None = Field(
        description="Requested model, or reason. Null: all ratings or, grouped by model, answers whose model is not "
        "known."
    )


class FeedbackReport(Report):
    """Ratings by bucket. A rating with several reasons is counted for each of them."""

    bucket: Literal["hour", "day", "week"]
    group_by: Literal["none", "model", "reason"]
    totals: FeedbackFigures = Field(description="Ratings of the whole range.")
    rows: list[FeedbackRow]


class ErrorRow(ResponseModel):
    """Failed calls of a model with one error code."""

    model: str = Field(description="Requested model.")
    error_code: str
    calls: int = Field(description="Number of calls with this error code.")
    share: float = Field(description="Share of all calls of the model, from 0 to 1.")


class ErrorReport(Report):
    """Failed calls by model and error code."""

    calls: int
    calls_failed: int = Field(description="Sum of the rows.")
    error_rate: float = Field(description="`calls_failed` / `calls`; 0 without calls.")
    rows: list[ErrorRow] = Field(description="Ordered by number of calls, largest first.")


class ModelRow(Percentiles, UsageFigures):
    """Usage and latency of a model."""

    model: str = Field(description="Requested model.")
    error_rate: float = Field(description="`calls_failed` / `calls`; 0 without calls.")


class ModelReport(Report):
    """Usage and latency by model."""

    totals: UsageFigures
    rows: list[ModelRow]


class UserRow(TurnRates, UsageFigures):
    """Usage of an account."""

    user_id: UUID | None = Field(description="Null: all other accounts, including erased ones.")
    username: str | None


class UserReport(Report):
    """Usage of the accounts with the most usage."""

    totals: UsageFigures = Field(description="Total of all accounts: the sum of the rows.")
    rows: list[UserRow]


class RetentionRow(ResponseModel):
    """Activity of a cohort in a period."""

    cohort_start: datetime
    cohort_end: datetime
    users: int = Field(description="Accounts that were registered in the cohort's period and have not been erased.")
    period: int = Field(description="0: the cohort's own week or month; 1: the next one, and so on.")
    period_start: datetime
    period_end: datetime
    active: int = Field(description="Number of those that used a model in the period.")
    share: float = Field(description="`active` / `users`; 0 without users.")


class RetentionReport(Report):
    """Cohort retention. The last period ends with the range and may be partial."""

    cohort: Literal["week", "month"]
    rows: list[RetentionRow]


class PeriodFigures(TurnRates, UsageFigures, Report):
    """Totals of a period."""

    users_registered: int = Field(description="Accounts that were registered in the period and have not been erased.")
    users_active: int = Field(description="Accounts that used a model in the period, without erased ones.")
    sessions: int = Field(description="Sessions that were created in the period and have not been deleted.")
    messages: int = Field(description="Messages that were stored in the period and have not been deleted.")


class UserCounts(ResponseModel):
    """Number of accounts."""

    total: int
    enabled: int = Field(description="Accounts that are not disabled.")
    active: int = Field(description="Accounts that used a model in the period.")


class TurnCounts(ResponseModel):
    """Questions that were sent to a model, including those in deleted sessions."""

    total: int
    failed: int = Field(description="Turns that no model answered.")
    by_fallback_model: int = Field(description="Turns that a fallback model answered.")
    error_rate: float = Field(description="`failed` / `total`; 0 without turns.")
    fallback_rate: float = Field(description="`by_fallback_model` / `total`; 0 without turns.")


class CallCounts(ResponseModel):
    """Attempts at model calls."""

    total: int
    failed: int
    cached: int = Field(description="Answered from the response cache.")
    unpriced: int = Field(description="Calls whose price is not known. `cost_usd` does not include them.")


class TokenCounts(ResponseModel):
    """Tokens of all calls."""

    prompt: int
    completion: int
    total: int


class Overview(ResponseModel):
    """Totals of all time, of a period and of the one before it, all from one snapshot."""

    generated_at: datetime
    users: UserCounts
    sessions: int
    messages: int
    turns: TurnCounts
    model_calls: CallCounts
    tokens: TokenCounts
    cost_usd: Usd = Field(description="Cost of all calls in US dollars.")
    period: PeriodFigures
    previous: PeriodFigures = Field(description="The period of the same length before it.")


class OverviewRow(ResponseModel):
    """Figure of the overview in the CSV file."""

    figure: str
    period: int | float | str
    previous: int | float | str
