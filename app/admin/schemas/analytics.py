"""Response schemas of the analytics reports. Rows are flat, because the CSV files have a column for each field."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from app.core.schema_types import ResponseModel, Usd


class UsageFigures(ResponseModel):
    """Usage totals. A turn is a question or a request for another answer; a call is one attempt at a model call."""

    turns: int = Field(
        description="Turns for which a model was called, or that were answered from the response cache. For one model "
        "or provider: those for which it was called first."
    )
    turns_failed: int | None = Field(
        description="Turns whose attempts all failed. Null for one model or provider, because a turn may call several."
    )
    turns_cancelled: int = Field(description="Turns whose answer was cancelled or interrupted during an attempt.")
    turns_by_fallback: int = Field(description="Turns that a fallback model answered.")
    turns_cached: int = Field(
        description="Turns answered from the response cache, or by a call that another turn accounts for."
    )
    calls: int = Field(description="Attempts at model calls.")
    calls_failed: int = Field(description="Failed attempts.")
    calls_estimated: int = Field(
        description="Calls whose token counts are estimates, because the provider returned none or the call "
        "ended early."
    )
    calls_unpriced: int = Field(description="Calls whose price is not known. `cost_usd` does not include them.")
    prompt_tokens: int = Field(description="Tokens that were sent.")
    completion_tokens: int = Field(description="Tokens that were received.")
    total_tokens: int = Field(description="All tokens: `prompt_tokens` + `completion_tokens`.")
    cost_usd: Usd = Field(description="Cost of all calls in US dollars.")


class TurnRates(ResponseModel):
    """Shares of turns, from 0 to 1; 0 without turns."""

    error_rate: float = Field(description="`turns_failed` / `turns`.")
    fallback_rate: float = Field(description="`turns_by_fallback` / `turns`.")
    cache_hit_rate: float = Field(description="`turns_cached` / `turns`.")


class Percentiles(ResponseModel):
    """Percentiles of the latency and of the time to first token in milliseconds. Null without measurements."""

    latency_p50_ms: int | None = Field(description="50th percentile of the duration of a call, in milliseconds.")
    latency_p90_ms: int | None = Field(description="90th percentile of the duration of a call, in milliseconds.")
    latency_p95_ms: int | None = Field(description="95th percentile of the duration of a call, in milliseconds.")
    latency_p99_ms: int | None = Field(description="99th percentile of the duration of a call, in milliseconds.")
    first_token_p50_ms: int | None = Field(
        description="50th percentile of the time to first token of streamed calls, in milliseconds."
    )
    first_token_p90_ms: int | None = Field(
        description="90th percentile of the time to first token of streamed calls, in milliseconds."
    )
    first_token_p95_ms: int | None = Field(
        description="95th percentile of the time to first token of streamed calls, in milliseconds."
    )
    first_token_p99_ms: int | None = Field(
        description="99th percentile of the time to first token of streamed calls, in milliseconds."
    )


class Report(ResponseModel):
    """Time range of a report, half-open, and the time zone of its times."""

    from_: datetime = Field(serialization_alias="from", description="Start of the range, inclusive.")
    to: datetime = Field(description="End of the range, exclusive.")
    timezone: str = Field(description="IANA time zone in which buckets start.")


class BucketRow(ResponseModel):
    """Half-open time bucket of a report."""

    start: datetime = Field(description="Start of the bucket, inclusive.")
    end: datetime = Field(description="End of the bucket, exclusive.")


class UsageRow(UsageFigures, BucketRow):
    """Usage in a bucket, in total or of one group."""

    group: str | None = Field(
        description="Name of the model or provider, or id of the account. Null: the total or, beside other groups, the "
        "remainder, to which calls belong whose provider is not known."
    )
    name: str | None = Field(description="User name of the account. Null: the row is not one of an account.")


class UsageReport(Report):
    """Usage by bucket. `totals` is the sum of the rows."""

    bucket: Literal["hour", "day", "week"] = Field(description="Size of the buckets.")
    group_by: Literal["none", "model", "provider", "user"] = Field(description="Grouping of the rows.")
    totals: UsageFigures = Field(description="Sum of the rows.")
    rows: list[UsageRow] = Field(description="One row for each bucket and group, including those without usage.")


class LatencyRow(Percentiles, BucketRow):
    """Latency in a bucket."""

    model: str | None = Field(description="Requested model. Null: all models.")
    calls: int = Field(description="Number of measured calls.")
    streams: int = Field(description="Number of those with a measured time to first token.")
    provider: str | None = Field(
        description="Provider of the requested model. Null: all providers or, grouped by provider, calls whose "
        "provider is not known."
    )


class LatencyReport(Report):
    """Latency percentiles by bucket."""

    bucket: Literal["hour", "day", "week"] = Field(description="Size of the buckets.")
    group_by: Literal["none", "model", "provider"] = Field(description="Grouping of the rows.")
    totals: Percentiles = Field(description="Percentiles of the whole range and all models.")
    rows: list[LatencyRow] = Field(description="One row for each bucket and group.")


class FeedbackFigures(ResponseModel):
    """Number of rated answers."""

    ratings: int = Field(description="Number of ratings: `up` + `down`.")
    up: int = Field(description="Answers rated up.")
    down: int = Field(description="Answers rated down.")
    share_up: float | None = Field(description="`up` / `ratings`, from 0 to 1; null without ratings.")


class FeedbackRow(FeedbackFigures, BucketRow):
    """Ratings in a bucket, in total or of one group."""

    group: str | None = Field(
        description="Requested model, or reason. Null: all ratings or, grouped by model, answers whose model is not "
        "known."
    )


class FeedbackReport(Report):
    """Ratings by bucket. Grouped by reason, a rating with several is counted for each."""

    bucket: Literal["hour", "day", "week"] = Field(description="Size of the buckets.")
    group_by: Literal["none", "model", "reason"] = Field(description="Grouping of the rows.")
    totals: FeedbackFigures = Field(description="Ratings of the whole range.")
    rows: list[FeedbackRow] = Field(description="One row for each bucket and group.")


class ErrorRow(ResponseModel):
    """Failed calls of a model or provider with one error code."""

    model: str | None = Field(description="Requested model. Null: all models.")
    error_code: str = Field(description="Error code of the calls.")
    calls: int = Field(description="Number of calls with this error code.")
    share: float = Field(description="Share of all calls of the model or provider, from 0 to 1.")
    provider: str | None = Field(
        description="Provider of the requested model. Null: all providers or, grouped by provider, calls whose "
        "provider is not known."
    )


class ErrorReport(Report):
    """Failed calls by error code, and by model or provider."""

    group_by: Literal["model", "provider"] = Field(description="Grouping of the rows.")
    calls: int = Field(description="Attempts at model calls in the range.")
    calls_failed: int = Field(description="Failed attempts of all rows.")
    error_rate: float = Field(description="`calls_failed` / `calls`; 0 without calls.")
    rows: list[ErrorRow] = Field(description="Ordered by number of calls, largest first.")


class ModelRow(Percentiles, UsageFigures):
    """Usage and latency of a model."""

    model: str = Field(description="Requested model.")
    provider: str | None = Field(description="Provider that serves the model now. Null: it is no longer configured.")
    error_rate: float = Field(description="`calls_failed` / `calls`; 0 without calls.")


class ModelReport(Report):
    """Usage and latency by model."""

    totals: UsageFigures = Field(description="Sum of the rows.")
    rows: list[ModelRow] = Field(description="Rows of the report.")


class UserRow(TurnRates, UsageFigures):
    """Usage of an account."""

    user_id: UUID | None = Field(description="Null: all other accounts, including erased ones.")
    username: str | None = Field(description="User name. Null: the row of all other accounts.")


class UserReport(Report):
    """Usage of the accounts with the most usage."""

    totals: UsageFigures = Field(description="Total of all accounts: the sum of the rows.")
    rows: list[UserRow] = Field(description="Rows of the report.")


class RetentionRow(ResponseModel):
    """Activity of a cohort in a period."""

    cohort_start: datetime = Field(description="Start of the period of registration.")
    cohort_end: datetime = Field(description="End of it, exclusive.")
    users: int = Field(description="Accounts that were registered in the cohort's period and have not been erased.")
    period: int = Field(
        description="Number of the period. 0: the cohort's own week or month; 1: the next one, and so on."
    )
    period_start: datetime = Field(description="Start of the period of activity.")
    period_end: datetime = Field(description="End of it, exclusive.")
    active: int = Field(description="Number of those that used a model in the period.")
    share: float = Field(description="`active` / `users`; 0 without users.")


class RetentionReport(Report):
    """Cohort retention. The last period ends with the range and may be partial."""

    cohort: Literal["week", "month"] = Field(description="Period of registration that forms a cohort.")
    rows: list[RetentionRow] = Field(description="Rows of the report.")


class PeriodFigures(TurnRates, UsageFigures, Report):
    """Totals of a period."""

    users_registered: int = Field(description="Accounts that were registered in the period and have not been erased.")
    users_active: int = Field(description="Accounts that used a model in the period, without erased ones.")
    sessions: int = Field(description="Sessions that were created in the period and have not been deleted.")
    messages: int = Field(description="Messages that were stored in the period and have not been deleted.")


class UserCounts(ResponseModel):
    """Number of accounts."""

    total: int = Field(description="Number of accounts, including disabled ones.")
    enabled: int = Field(description="Accounts that are not disabled.")
    active: int = Field(description="Accounts that used a model in the period.")


class TurnCounts(ResponseModel):
    """Turns for which a model was called, or that were answered from the cache, also in deleted sessions."""

    total: int = Field(description="Number of turns.")
    failed: int = Field(description="Turns whose attempts all failed.")
    by_fallback_model: int = Field(description="Turns that a fallback model answered.")
    error_rate: float = Field(description="`failed` / `total`; 0 without turns.")
    fallback_rate: float = Field(description="`by_fallback_model` / `total`; 0 without turns.")


class CallCounts(ResponseModel):
    """Attempts at model calls."""

    total: int = Field(description="Attempts at model calls.")
    failed: int = Field(description="Failed attempts.")
    cached: int = Field(
        description="Calls answered from the response cache, or by a call that another turn accounts for."
    )
    unpriced: int = Field(description="Calls whose price is not known. `cost_usd` does not include them.")


class TokenCounts(ResponseModel):
    """Tokens of all calls."""

    prompt: int = Field(description="Tokens that were sent.")
    completion: int = Field(description="Tokens that were received.")
    total: int = Field(description="All tokens: `prompt` + `completion`.")


class Overview(ResponseModel):
    """Totals of all time, of a period and of the one before it, all from one snapshot."""

    generated_at: datetime = Field(description="Time at which the response was computed.")
    users: UserCounts = Field(description="Numbers of accounts.")
    sessions: int = Field(description="Number of stored sessions.")
    messages: int = Field(description="Number of stored messages.")
    turns: TurnCounts = Field(description="Number of turns.")
    model_calls: CallCounts = Field(description="Number of attempts at model calls.")
    tokens: TokenCounts = Field(description="Number of tokens.")
    cost_usd: Usd = Field(description="Cost of all calls in US dollars.")
    period: PeriodFigures = Field(description="Totals of the requested range.")
    previous: PeriodFigures = Field(description="The period of the same length before it.")


class OverviewRow(ResponseModel):
    """Figure of the overview in the CSV file."""

    figure: str = Field(description="Name of the value.")
    period: int | float | str = Field(description="Value in the requested range.")
    previous: int | float | str = Field(description="Value in the range before it.")
