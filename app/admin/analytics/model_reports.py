"""Reports by model or provider: usage, latency percentiles and errors."""

from collections.abc import Mapping
from typing import Any

from app.admin.analytics.report_fields import report_fields, share, usage_fields
from app.admin.analytics.time_ranges import MAX_ROWS, TimeRange
from app.admin.schemas.analytics import (
    ErrorReport,
    ErrorRow,
    LatencyReport,
    LatencyRow,
    ModelReport,
    ModelRow,
    Percentiles,
    UsageFigures,
)
from app.admin.schemas.analytics_queries import ErrorQuery, LatencyQuery, ModelQuery
from app.core.exceptions import InvalidFieldError
from app.database.connection import Database
from app.database.repositories.analytics import latency_reports, usage_reports
from app.database.repositories.analytics.latency_reports import (
    LatencyGroup,
    LatencyGroupBy,
    LatencyMeasurements,
    LatencyPercentiles,
)
from app.database.repositories.analytics.report_columns import sum_metrics
from app.database.repositories.analytics.usage_reports import order_value

_ALL = LatencyGroup(None, None)


async def get_model_report(
    database: Database, query: ModelQuery, span: TimeRange, providers: Mapping[str, str]
) -> ModelReport:
    """Return the usage and latency percentiles of each model. `providers`: those of the configured models."""
    async with database.read_only() as session:
        models = await usage_reports.usage_by_model(session, span.start, span.end, provider=query.provider)
        # A second statement: it may include answers that finished since the first one.
        times = await latency_reports.percentiles_by_bucket(
            session, [span.start, span.end], "model", provider=query.provider
        )
    ordered = sorted(models, key=lambda model: (-order_value(query.order, models[model]), model))
    rows = [
        ModelRow(
            model=model,
            provider=providers.get(model),
            error_rate=share(models[model].calls_failed, models[model].calls),
            **usage_fields(models[model]) | {"turns_failed": None},
            **_percentile_fields(times.get(LatencyGroup(0, model), {})),
        )
        for model in ordered
    ]
    of_provider = {} if query.provider is None else {"turns_failed": None}
    totals = UsageFigures(**usage_fields(sum_metrics(models.values())) | of_provider)
    return ModelReport(**report_fields(span), totals=totals, rows=rows)


async def get_latency_report(database: Database, query: LatencyQuery, span: TimeRange) -> LatencyReport:
    """Return the latency percentiles of each bucket, of all answers or by model or provider.

    Raises:
        InvalidFieldError: the report would have too many buckets or rows.

    """
    edges = span.edges(query.bucket)
    async with database.read_only() as session:
        times = await latency_reports.percentiles_by_bucket(session, edges, query.group_by, provider=query.provider)
    is_grouped = query.group_by != "none"
    names = sorted({group.name for group in times if group.name is not None}) if is_grouped else [None]
    if (len(edges) - 1) * len(names) > MAX_ROWS:
        raise InvalidFieldError(
            "query.bucket", "too_many_rows", f"must not result in more than {MAX_ROWS} rows of groups and buckets"
        )
    rows = [
        LatencyRow(
            start=start,
            end=end,
            **_group_fields(query.group_by, name, query.provider),
            **_count_fields(measured),
            **_percentile_fields(measured),
        )
        for number, (start, end) in enumerate(span.local_buckets(edges))
        for name in names
        for measured in (times.get(LatencyGroup(number, name), {}),)
    ]
    totals = Percentiles(**_percentile_fields(times.get(_ALL, {})))
    return LatencyReport(**report_fields(span), bucket=query.bucket, group_by=query.group_by, totals=totals, rows=rows)


async def get_error_report(database: Database, query: ErrorQuery, span: TimeRange) -> ErrorReport:
    """Return the number of failed calls by error code, and by model or provider."""
    async with database.read_only() as session:
        counts = await usage_reports.error_counts(
            session, span.start, span.end, query.group_by, provider=query.provider
        )
    calls = {name: count for name, code, count in counts if code is None}
    failed = [(name, code, count) for name, code, count in counts if code is not None]
    rows = [
        ErrorRow(
            **_group_fields(query.group_by, name, query.provider),
            error_code=code,
            calls=count,
            share=share(count, calls.get(name, 0)),
        )
        for name, code, count in sorted(failed, key=lambda row: (-row[2], row[:2]))
    ]
    all_calls, all_failed = sum(calls.values()), sum(row.calls for row in rows)
    return ErrorReport(
        **report_fields(span),
        group_by=query.group_by,
        calls=all_calls,
        calls_failed=all_failed,
        error_rate=share(all_failed, all_calls),
        rows=rows,
    )


def _group_fields(group_by: LatencyGroupBy, name: str | None, provider: str | None) -> dict[str, Any]:
    """Return the fields that name the group of a row. `provider`: the only one of the report."""
    if group_by == "provider":
        return {"model": None, "provider": name or None}
    return {"model": name, "provider": provider}


def _count_fields(measured: LatencyMeasurements) -> dict[str, Any]:
    return {
        "calls": measured.get("latencies", LatencyPercentiles()).count,
        "streams": measured.get("first_tokens", LatencyPercentiles()).count,
    }


def _percentile_fields(measured: LatencyMeasurements) -> dict[str, Any]:
    """Return the fields of `Percentiles`."""
    fields = {
        "latency": measured.get("latencies", LatencyPercentiles()),
        "first_token": measured.get("first_tokens", LatencyPercentiles()),
    }
    return {f"{name}_{which}_ms": ms for name, times in fields.items() for which, ms in times.percentiles.items()}
