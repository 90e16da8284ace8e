"""Usage reports by time, model, provider and account."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from uuid import UUID

from app.admin.analytics.report_fields import rate_fields, report_fields, usage_fields
from app.admin.analytics.time_ranges import MAX_ROWS, TimeRange
from app.admin.schemas.analytics import UsageFigures, UsageReport, UsageRow, UserReport, UserRow
from app.admin.schemas.analytics_queries import TopQuery, UsageQuery
from app.core.exceptions import InvalidFieldError
from app.database.connection import Database
from app.database.repositories.analytics import usage_reports
from app.database.repositories.analytics.report_columns import UsageMetrics, sum_metrics
from app.database.repositories.analytics.usage_reports import BucketUsage, Group, Order, order_value

Buckets = Mapping[int, UsageMetrics]
"""Metrics by index of the bucket. Buckets without usage are left out."""

_UNGROUPED = Group(None)
"""All usage or, beside other groups, the remainder."""
_READ_TIMEOUT = 30.0
"""Timeout of reading all accounts in seconds."""


async def get_usage_report(database: Database, query: UsageQuery, span: TimeRange) -> UsageReport:
    """Return the usage in each bucket, in total or by the groups with the most usage and the remainder.

    Raises:
        InvalidFieldError: the report would have too many buckets or rows, or is one of accounts at a provider.

    """
    if query.group_by == "user" and query.provider is not None:
        raise InvalidFieldError("query.provider", "unsupported", "cannot be combined with `group_by=user`")
    edges = span.edges(query.bucket)
    if (len(edges) - 1) * (1 if query.group_by == "none" else query.limit + 1) > MAX_ROWS:
        raise InvalidFieldError(
            "query.limit", "too_many_rows", f"must not result in more than {MAX_ROWS} rows of groups and buckets"
        )
    async with database.read_only() as session:
        bucket_usage = await usage_reports.usage_by_bucket(
            session, edges, query.group_by, order=query.order, limit=query.limit, provider=query.provider
        )
    all_usage, groups = _split_by_group(bucket_usage, query)
    unknown = {} if query.group_by in ("none", "user") and query.provider is None else {"turns_failed": None}
    rows = [
        UsageRow(
            start=start,
            end=end,
            group=group.key,
            name=group.name,
            **usage_fields(buckets.get(number, UsageMetrics())) | unknown,
        )
        for number, (start, end) in enumerate(span.local_buckets(edges))
        for group, buckets in groups.items()
    ]
    of_provider = {} if query.provider is None else {"turns_failed": None}
    totals = UsageFigures(**usage_fields(sum_metrics(all_usage.values())) | of_provider)
    return UsageReport(**report_fields(span), bucket=query.bucket, group_by=query.group_by, totals=totals, rows=rows)


async def get_user_report(database: Database, query: TopQuery, span: TimeRange) -> UserReport:
    """Return the usage of the accounts with the most usage, and that of all others in one row."""
    items = [item async for item in _stream_users(database, span, query.order, limit=query.limit)]
    (_, all_usage), *users = items
    rows = [_user_row(group, metrics) for group, metrics in users]
    return UserReport(**report_fields(span), totals=UsageFigures(**usage_fields(all_usage)), rows=rows)


async def stream_user_rows(database: Database, order: Order, span: TimeRange) -> AsyncGenerator[UserRow]:
    """Yield the rows of `get_user_report` for all accounts, and a last one for the remainder (erased accounts)."""
    async with aclosing(_stream_users(database, span, order, limit=None)) as items:
        await anext(items)
        async for group, metrics in items:
            yield _user_row(group, metrics)


async def _stream_users(
    database: Database, span: TimeRange, order: Order, *, limit: int | None
) -> AsyncGenerator[tuple[Group, UsageMetrics]]:
    """Yield the total, each account, and the remainder if it contains calls."""
    async with database.transaction(max_seconds=_READ_TIMEOUT) as session:
        remainder: UsageMetrics | None = None
        async for group, metrics in usage_reports.stream_usage_by_user(
            session, span.start, span.end, order=order, limit=limit
        ):
            remainder = metrics if remainder is None else remainder.minus(metrics)
            yield group, metrics
    if remainder is not None and remainder.calls:
        yield _UNGROUPED, remainder


def _user_row(group: Group, metrics: UsageMetrics) -> UserRow:
    user_id = UUID(group.key) if group.key else None
    return UserRow(user_id=user_id, username=group.name, **usage_fields(metrics), **rate_fields(metrics))


def _split_by_group(bucket_usage: list[BucketUsage], query: UsageQuery) -> tuple[Buckets, dict[Group, Buckets]]:
    """Return the total by bucket, and the groups of the report, largest first, with the remainder last."""
    groups: dict[Group, dict[int, UsageMetrics]] = defaultdict(dict)
    for row in bucket_usage:
        groups[row.group][row.bucket] = row.metrics
    all_usage: Buckets = groups.pop(_UNGROUPED, {})
    if query.group_by == "none":
        return all_usage, {_UNGROUPED: all_usage}
    if query.group_by == "model" or query.provider is not None:
        all_usage = _sum_buckets(groups.values())
    order_values = {group: order_value(query.order, sum_metrics(buckets.values())) for group, buckets in groups.items()}
    top_keys = sorted(groups, key=lambda group: (-order_values[group], group.key))[: query.limit]
    top: dict[Group, Buckets] = {group: groups[group] for group in top_keys}
    top_usage = _sum_buckets(top.values())
    remainder = {number: metrics.minus(top_usage.get(number, UsageMetrics())) for number, metrics in all_usage.items()}
    return all_usage, top | ({_UNGROUPED: remainder} if any(metrics.calls for metrics in remainder.values()) else {})


def _sum_buckets(groups: Iterable[Buckets]) -> Buckets:
    """Return the sum of the groups in each bucket."""
    parts: dict[int, list[UsageMetrics]] = defaultdict(list)
    for buckets in groups:
        for number, metrics in buckets.items():
            parts[number].append(metrics)
    return {number: sum_metrics(metrics) for number, metrics in parts.items()}
