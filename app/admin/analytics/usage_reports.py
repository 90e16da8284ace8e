"""What was used: by time, by model and by account."""

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
"""Figures by the number of the bucket, where there are any."""

_UNGROUPED = Group(None)
"""Everybody or, beside groups, whatever is in none of them."""
_LONGEST = 30.0
"""Seconds that reading all accounts may take."""


async def usage_report(database: Database, query: UsageQuery, span: TimeRange) -> UsageReport:
    """Return what was used in each bucket, by everybody or by those groups that used most.

    Raises:
        InvalidFieldError: there would be too many buckets or rows.

    """
    edges = span.edges(query.bucket)
    if (len(edges) - 1) * (1 if query.group_by == "none" else query.limit + 1) > MAX_ROWS:
        raise InvalidFieldError(
            "query.limit", "too_many_rows", f"must not make more than {MAX_ROWS} rows of groups and buckets"
        )
    async with database.read_only() as session:
        cells = await usage_reports.usage_by_bucket(
            session, edges, query.group_by, order=query.order, limit=query.limit
        )
    everybody, groups = _sorted_out(cells, query)
    unknown = {"turns_failed": None} if query.group_by == "model" else {}
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
    totals = UsageFigures(**usage_fields(sum_metrics(everybody.values())))
    return UsageReport(**report_fields(span), bucket=query.bucket, group_by=query.group_by, totals=totals, rows=rows)


async def user_report(database: Database, query: TopQuery, span: TimeRange) -> UserReport:
    """Return what was used by the accounts that used most, and by all others together."""
    found = [item async for item in _users(database, span, query.order, limit=query.limit)]
    (_, everybody), *users = found
    rows = [_user_row(group, figures) for group, figures in users]
    return UserReport(**report_fields(span), totals=UsageFigures(**usage_fields(everybody)), rows=rows)


async def all_user_rows(database: Database, order: Order, span: TimeRange) -> AsyncGenerator[UserRow]:
    """Give what each account used, and at last all that have been erased, as `user_report` does."""
    async with aclosing(_users(database, span, order, limit=None)) as found:
        await anext(found)
        async for group, figures in found:
            yield _user_row(group, figures)


async def _users(
    database: Database, span: TimeRange, order: Order, *, limit: int | None
) -> AsyncGenerator[tuple[Group, UsageMetrics]]:
    """Give everybody's figures, those of accounts, and those of whoever is left."""
    async with database.transaction(max_seconds=_LONGEST) as session:
        left: UsageMetrics | None = None
        async for group, figures in usage_reports.stream_usage_by_user(
            session, span.start, span.end, order=order, limit=limit
        ):
            left = figures if left is None else left.without(figures)
            yield group, figures
    if left is not None and left.calls:
        yield _UNGROUPED, left


def _user_row(group: Group, figures: UsageMetrics) -> UserRow:
    user_id = UUID(group.key) if group.key else None
    return UserRow(user_id=user_id, username=group.name, **usage_fields(figures), **rate_fields(figures))


def _sorted_out(cells: list[BucketUsage], query: UsageQuery) -> tuple[Buckets, dict[Group, Buckets]]:
    """Return everybody's figures, and those of the groups that are shown, largest first."""
    groups: dict[Group, dict[int, UsageMetrics]] = defaultdict(dict)
    for cell in cells:
        groups[cell.group][cell.bucket] = cell.figures
    everybody: Buckets = groups.pop(_UNGROUPED, {})
    if query.group_by == "none":
        return everybody, {_UNGROUPED: everybody}
    if query.group_by == "model":
        everybody = _merged(groups.values())
    amounts = {group: order_value(query.order, sum_metrics(buckets.values())) for group, buckets in groups.items()}
    first = sorted(groups, key=lambda group: (-amounts[group], group.key))[: query.limit]
    shown: dict[Group, Buckets] = {group: groups[group] for group in first}
    listed = _merged(shown.values())
    others = {number: figures.without(listed.get(number, UsageMetrics())) for number, figures in everybody.items()}
    return everybody, shown | ({_UNGROUPED: others} if any(figures.calls for figures in others.values()) else {})


def _merged(groups: Iterable[Buckets]) -> Buckets:
    parts: dict[int, list[UsageMetrics]] = defaultdict(list)
    for buckets in groups:
        for number, figures in buckets.items():
            parts[number].append(figures)
    return {number: sum_metrics(of_bucket) for number, of_bucket in parts.items()}
