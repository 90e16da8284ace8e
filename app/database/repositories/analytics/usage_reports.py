"""Usage queries of the reports: by bucket, model, account and error code. Each is one statement on one snapshot."""

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
    TO,
    UsageMetrics,
    bucket_number,
    is_in_range,
    metric_columns,
)
from app.database.repositories.usage.exact_usage import errors_by_quarter, sum_counter, usage_by_quarter
from app.database.repositories.usage.usage_by_user import usage_by_user

GroupBy = Literal["none", "model", "user"]
Order = Literal["cost", "tokens", "turns"]


class Group(NamedTuple):
    """Group of a report: a model by name, or an account by public id and user name. Without a key: all usage."""

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


def _total_buckets_statement() -> Select[Any]:
    return _usage_by_bucket(usage_by_quarter(), *_NO_GROUP)


def _model_buckets_statement() -> Select[Any]:
    usage = usage_by_quarter()
    return _usage_by_bucket(usage, usage.c.model.label("key"), cast(null(), Text).label("name")).group_by(usage.c.model)


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
    return union_all(_total_buckets_statement(), user_usage)


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


def _models_statement() -> Select[Any]:
    usage = usage_by_quarter()
    return select(usage.c.model, *metric_columns(usage)).where(is_in_range(usage)).group_by(usage.c.model)


def _errors_statement() -> CompoundSelect[Any]:
    failed, usage = errors_by_quarter(), usage_by_quarter()
    codes = (
        select(failed.c.model, failed.c.error_code, cast(func.sum(failed.c.calls), BigInteger))
        .where(is_in_range(failed))
        .group_by(failed.c.model, failed.c.error_code)
    )
    return union_all(
        codes,
        select(usage.c.model, cast(null(), Text), sum_counter(usage, "calls"))
        .where(is_in_range(usage))
        .group_by(usage.c.model),
    )


_TOTAL_BUCKETS = _total_buckets_statement()
_MODEL_BUCKETS = _model_buckets_statement()
_USER_BUCKETS = {order: _user_buckets_statement(order) for order in get_args(Order)}
_MODELS = _models_statement()
_USERS: dict[Order, Select[Any]] = {order: _users_statement(order) for order in get_args(Order)}
_TOP_USERS: dict[Order, Select[Any]] = {order: _users_statement(order, _top_users(order)) for order in get_args(Order)}
_ERRORS = _errors_statement()


async def usage_by_bucket(
    session: AsyncSession, edges: Sequence[datetime], group_by: GroupBy, *, order: Order, limit: int
) -> list[BucketUsage]:
    """Return the usage by bucket and group. Buckets without usage are left out.

    Grouped by user, the result holds the total of all accounts and the `limit` accounts with the most usage.
    """
    match group_by:
        case "none":
            statement: Select[Any] | CompoundSelect[Any] = _TOTAL_BUCKETS
        case "model":
            statement = _MODEL_BUCKETS
        case "user":
            statement = _USER_BUCKETS[order]
    parameters = {
        "p_from": edges[0],
        "p_to": edges[-1],
        "p_edges": list(edges),
        "p_limit": limit,
        "p_longest": "day" if all(edge.astimezone(UTC).time() == time.min for edge in edges[1:-1]) else "quarter",
    }
    rows = await session.execute(statement, parameters)
    return [BucketUsage(bucket, Group(key, name), UsageMetrics(*sums)) for bucket, key, name, *sums in rows]


async def usage_by_model(session: AsyncSession, start: datetime, end: datetime) -> dict[str, UsageMetrics]:
    """Return the usage of each model. Models without usage are left out."""
    rows = await session.execute(_MODELS, {"p_from": start, "p_to": end})
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


async def error_counts(session: AsyncSession, start: datetime, end: datetime) -> list[tuple[str, str | None, int]]:
    """Return `(model, error code, failed calls)` rows, and for each model a row without a code with all its calls."""
    return [
        (model, code, calls) for model, code, calls in await session.execute(_ERRORS, {"p_from": start, "p_to": end})
    ]
