"""Usage queries of the reports: by bucket, model, provider, account and error code.

Each is one statement on one snapshot.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, time
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Select,
    Subquery,
    Text,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.models import User
from app.database.repositories.analytics.report_columns import (
    FROM,
    PROVIDER,
    TO,
    UsageMetrics,
    bucket_number,
    is_in_range,
    metric_columns,
)
from app.database.repositories.usage import rollup_tables
from app.database.repositories.usage.exact_usage import (
    errors_by_quarter,
    rows_by_provider,
    rows_of_provider,
    sum_counter,
    usage_by_quarter,
)
from app.database.repositories.usage.usage_by_user import usage_by_user

GroupBy = Literal["none", "model", "provider", "user"]
ErrorGroupBy = Literal["model", "provider"]
Order = Literal["cost", "tokens", "turns"]


class Group(NamedTuple):
    """Group of a report: a model or provider by name, or an account by public id and user name.

    Without a key: all usage.
    """

    key: str | None
    name: str | None = None


class BucketUsage(NamedTuple):
    """Metrics of a group in a bucket. Buckets are numbered from 0."""

    bucket: int
    group: Group
    metrics: UsageMetrics


_LONGEST_PERIOD = bindparam("p_longest", type_=Text)
"""Longest roll-ups that may be read: no bucket may end within one of their periods."""
_WEEK: ColumnElement[str] = literal("week")
_LIMIT = bindparam("p_limit", type_=BigInteger)


def order_value(order: Order, metrics: Any) -> Any:  # noqa: ANN401 - numbers, or columns with them
    """Return the value by which groups are sorted, descending. `metrics` has numbers or columns as attributes."""
    match order:
        case "cost":
            return metrics.cost_usd
        case "tokens":
            return metrics.prompt_tokens + metrics.completion_tokens
        case "turns":
            return metrics.turns


_NO_GROUP = (cast(null(), Text).label("key"), cast(null(), Text).label("name"))
_ACCOUNT_GROUP = (cast(User.uuid, Text).label("key"), User.username.label("name"))


def _usage_by_bucket(usage: Subquery, *group: ColumnElement[Any]) -> Select[Any]:
    bucket = bucket_number(usage.c.quarter).label("bucket")
    return select(bucket, *group, *metric_columns(usage)).where(is_in_range(usage)).group_by(bucket)


def _usage_of_provider() -> Subquery:
    return rows_of_provider(rollup_tables.USAGE_BY_PROVIDER, PROVIDER)


def _total_buckets_statement(usage: Subquery) -> Select[Any]:
    return _usage_by_bucket(usage, *_NO_GROUP)


def _named_buckets_statement(usage: Subquery, key: Literal["model", "provider"]) -> Select[Any]:
    name = usage.c[key]
    return _usage_by_bucket(usage, name.label("key"), cast(null(), Text).label("name")).group_by(name)


def _provider_buckets_statement() -> CompoundSelect[Any]:
    usage = rollup_tables.USAGE_BY_PROVIDER.with_pending().subquery("usage")
    return union_all(_total_buckets_statement(usage_by_quarter()), _named_buckets_statement(usage, "provider"))


def _top_users(order: Order) -> Select[Any]:
    # Aggregate only the sort value over all accounts: it is the most expensive part of the query.
    usage = usage_by_user(FROM, TO, longest_period=_WEEK)
    value = func.sum(order_value(order, usage.c))
    active = select(usage.c.user_id).group_by(usage.c.user_id).having(func.sum(usage.c.calls) > 0)
    top = active.order_by(value.desc(), usage.c.user_id).limit(_LIMIT).cte("top")
    return select(top.c.user_id)


def _user_buckets_statement(order: Order) -> CompoundSelect[Any]:
    usage = usage_by_user(FROM, TO, longest_period=_LONGEST_PERIOD, user_ids=_top_users(order))
    user_usage = _usage_by_bucket(usage, *_ACCOUNT_GROUP).join(User, User.id == usage.c.user_id).group_by(User.id)
    return union_all(_total_buckets_statement(usage_by_quarter()), user_usage)


def _users_statement(order: Order, user_ids: Select[Any] | None = None) -> Select[Any]:
    all_usage, user_usage = usage_by_quarter(), usage_by_user(FROM, TO, longest_period=_WEEK, user_ids=user_ids)
    total = select(cast(null(), BigInteger).label("user_id"), *_NO_GROUP, *metric_columns(all_usage)).where(
        is_in_range(all_usage)
    )
    users = (
        select(user_usage.c.user_id, *_ACCOUNT_GROUP, *metric_columns(user_usage))
        .join(User, User.id == user_usage.c.user_id)
        .group_by(user_usage.c.user_id, User.id)
        .having(func.sum(user_usage.c.calls) > 0)
    )
    rows = union_all(total, users).subquery("rows")
    return select(rows.c.key, rows.c.name, *(rows.c[name] for name in UsageMetrics._fields)).order_by(
        rows.c.user_id.is_not(None), order_value(order, rows.c).desc(), rows.c.user_id
    )


def _models_statement(usage: Subquery) -> Select[Any]:
    return select(usage.c.model, *metric_columns(usage)).where(is_in_range(usage)).group_by(usage.c.model)


def _errors_statement(failed: Subquery, usage: Subquery, group_by: ErrorGroupBy) -> CompoundSelect[Any]:
    def count(rows: Subquery, code: ColumnElement[Any], *keys: ColumnElement[Any]) -> Select[Any]:
        name, calls = rows.c[group_by], sum_counter(rows, "calls")
        return select(name, code, calls).where(is_in_range(rows)).group_by(name, *keys).having(calls != 0)

    return union_all(
        count(failed, failed.c.error_code, failed.c.error_code),
        count(usage, cast(null(), Text)),
    )


_BUCKETS: dict[GroupBy, Select[Any] | CompoundSelect[Any]] = {
    "none": _total_buckets_statement(usage_by_quarter()),
    "model": _named_buckets_statement(usage_by_quarter(), "model"),
    "provider": _provider_buckets_statement(),
}
_BUCKETS_OF_PROVIDER: dict[GroupBy, Select[Any]] = {
    "none": _total_buckets_statement(_usage_of_provider()),
    "model": _named_buckets_statement(_usage_of_provider(), "model"),
    "provider": _named_buckets_statement(_usage_of_provider(), "provider"),
}
_USER_BUCKETS = {order: _user_buckets_statement(order) for order in get_args(Order)}
_MODELS = _models_statement(usage_by_quarter())
_MODELS_OF_PROVIDER = _models_statement(_usage_of_provider())
_USERS: dict[Order, Select[Any]] = {order: _users_statement(order) for order in get_args(Order)}
_TOP_USERS: dict[Order, Select[Any]] = {order: _users_statement(order, _top_users(order)) for order in get_args(Order)}
_ERRORS: dict[ErrorGroupBy, CompoundSelect[Any]] = {
    "model": _errors_statement(errors_by_quarter(), usage_by_quarter(), "model"),
    "provider": _errors_statement(
        rows_by_provider(rollup_tables.ERRORS_BY_PROVIDER, rollup_tables.ERRORS),
        rows_by_provider(rollup_tables.USAGE_BY_PROVIDER, rollup_tables.USAGE),
        "provider",
    ),
}
_ERRORS_OF_PROVIDER: dict[ErrorGroupBy, CompoundSelect[Any]] = {
    group_by: _errors_statement(
        rows_of_provider(rollup_tables.ERRORS_BY_PROVIDER, PROVIDER), _usage_of_provider(), group_by
    )
    for group_by in get_args(ErrorGroupBy)
}


async def usage_by_bucket(
    session: AsyncSession,
    edges: Sequence[datetime],
    group_by: GroupBy,
    *,
    order: Order,
    limit: int,
    provider: str | None = None,
) -> list[BucketUsage]:
    """Return the usage by bucket and group. Buckets without usage are left out.

    Grouped by user, the result holds the total of all accounts and the `limit` accounts with the most usage. Grouped by
    provider, it holds the total of all calls and the providers that are known. `provider` restricts the result to one
    provider; usage of accounts is not known by provider.
    """
    if group_by == "user":
        statement: Select[Any] | CompoundSelect[Any] = _USER_BUCKETS[order]
    else:
        statement = (_BUCKETS if provider is None else _BUCKETS_OF_PROVIDER)[group_by]
    parameters = {
        "p_from": edges[0],
        "p_to": edges[-1],
        "p_edges": list(edges),
        "p_limit": limit,
        "p_provider": provider,
        "p_longest": "day" if all(edge.astimezone(UTC).time() == time.min for edge in edges[1:-1]) else "quarter",
    }
    rows = await session.execute(statement, parameters)
    return [BucketUsage(bucket, Group(key, name), UsageMetrics(*sums)) for bucket, key, name, *sums in rows]


async def usage_by_model(
    session: AsyncSession, start: datetime, end: datetime, *, provider: str | None = None
) -> dict[str, UsageMetrics]:
    """Return the usage of each model, at all providers or at one. Models without usage are left out."""
    statement = _MODELS if provider is None else _MODELS_OF_PROVIDER
    rows = await session.execute(statement, {"p_from": start, "p_to": end, "p_provider": provider})
    return {model: UsageMetrics(*sums) for model, *sums in rows}


async def stream_usage_by_user(
    session: AsyncSession, start: datetime, end: datetime, *, order: Order, limit: int | None
) -> AsyncIterator[tuple[Group, UsageMetrics]]:
    """Yield the total usage, and then that of each account, largest first; `limit` None: of all accounts.

    The total includes erased accounts. Rows are streamed, so the session must have an open transaction.
    """
    statement = _USERS[order] if limit is None else _TOP_USERS[order]
    rows = await session.stream(statement, {"p_from": start, "p_to": end, "p_limit": limit})
    async for key, name, *sums in rows:
        yield Group(key, name), UsageMetrics(*sums)


async def error_counts(
    session: AsyncSession, start: datetime, end: datetime, group_by: ErrorGroupBy, *, provider: str | None = None
) -> list[tuple[str, str | None, int]]:
    """Return `(name, error code, failed calls)` rows, and for each name a row without a code with all its calls.

    The names are those of the models or providers, which may be `UNKNOWN_PROVIDER`.
    """
    statement = (_ERRORS if provider is None else _ERRORS_OF_PROVIDER)[group_by]
    rows = await session.execute(statement, {"p_from": start, "p_to": end, "p_provider": provider})
    return [(name, code, calls) for name, code, calls in rows]
