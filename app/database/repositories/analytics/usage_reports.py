"""Figures for admins. Each is one statement, so that what it tells is of one moment, and exact at that."""

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
from app.database.repositories.usage.account_totals import usage_by_user
from app.database.repositories.usage.totals import errors_by_quarter, sum_counter, usage_by_quarter

GroupBy = Literal["none", "model", "user"]
Order = Literal["cost", "tokens", "turns"]


class Group(NamedTuple):
    """What figures are of: a model by its name, or an account by its public id and its name. Neither: everything."""

    key: str | None
    name: str | None = None


class BucketUsage(NamedTuple):
    """The figures of a group in a bucket, counted from 0."""

    bucket: int
    group: Group
    figures: UsageMetrics


_LONGEST_PERIOD = bindparam("p_longest", type_=Text)
"""Which sums may be read: no bucket ends within one of them."""
_ANY: ColumnElement[str] = literal("week")
_LIMIT = bindparam("p_limit", type_=BigInteger)


def order_value(order: Order, figures: Any) -> Any:  # noqa: ANN401 - numbers, or columns with them
    """Return what of figures, by their names, tells which come first."""
    match order:
        case "cost":
            return figures.cost_usd
        case "tokens":
            return figures.prompt_tokens + figures.completion_tokens
        case "turns":
            return figures.turns


_NOBODY = (cast(null(), Text).label("key"), cast(null(), Text).label("name"))
_ACCOUNT = (cast(User.uuid, Text).label("key"), User.username.label("name"))


def _cells(usage: Subquery, *group: ColumnElement[Any]) -> Select[Any]:
    bucket = bucket_number(usage.c.quarter).label("bucket")
    return select(bucket, *group, *metric_columns(usage)).where(is_in_range(usage)).group_by(bucket)


def _everybodys_cells() -> Select[Any]:
    return _cells(usage_by_quarter(), *_NOBODY)


def _models_cells() -> Select[Any]:
    usage = usage_by_quarter()
    return _cells(usage, usage.c.model.label("key"), cast(null(), Text).label("name")).group_by(usage.c.model)


def _first_users(order: Order) -> Select[Any]:
    # Of all accounts nothing else is summed up: it would take longer than all the rest.
    usage = usage_by_user(FROM, TO, longest_period=_ANY)
    used = func.sum(order_value(order, usage.c))
    found = select(usage.c.user_id).group_by(usage.c.user_id).having(func.sum(usage.c.calls) > 0)
    first = found.order_by(used.desc(), usage.c.user_id).limit(_LIMIT).cte("first")
    return select(first.c.user_id)


def _users_cells(order: Order) -> CompoundSelect[Any]:
    usage = usage_by_user(FROM, TO, longest_period=_LONGEST_PERIOD, user_ids=_first_users(order))
    theirs = _cells(usage, *_ACCOUNT).join(User, User.id == usage.c.user_id).group_by(User.id)
    return union_all(_everybodys_cells(), theirs)


def _users(order: Order, first: Select[Any] | None = None) -> Select[Any]:
    everybody, theirs = usage_by_quarter(), usage_by_user(FROM, TO, longest_period=_ANY, user_ids=first)
    total = select(cast(null(), BigInteger).label("user_id"), *_NOBODY, *metric_columns(everybody)).where(
        is_in_range(everybody)
    )
    stream_usage_by_user = (
        select(theirs.c.user_id, *_ACCOUNT, *metric_columns(theirs))
        .join(User, User.id == theirs.c.user_id)
        .group_by(theirs.c.user_id, User.id)
        .having(func.sum(theirs.c.calls) > 0)
    )
    rows = union_all(total, stream_usage_by_user).subquery("rows")
    return select(rows.c.key, rows.c.name, *(rows.c[name] for name in UsageMetrics._fields)).order_by(
        rows.c.user_id.is_not(None), order_value(order, rows.c).desc(), rows.c.user_id
    )


def _models() -> Select[Any]:
    usage = usage_by_quarter()
    return select(usage.c.model, *metric_columns(usage)).where(is_in_range(usage)).group_by(usage.c.model)


def _errors() -> CompoundSelect[Any]:
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


_CELLS_OF_EVERYBODY = _everybodys_cells()
_CELLS_OF_MODELS = _models_cells()
_CELLS_OF_USERS = {order: _users_cells(order) for order in get_args(Order)}
_MODELS = _models()
_USERS: dict[Order, Select[Any]] = {order: _users(order) for order in get_args(Order)}
_FIRST_USERS: dict[Order, Select[Any]] = {order: _users(order, _first_users(order)) for order in get_args(Order)}
_ERRORS = _errors()


async def usage_by_bucket(
    session: AsyncSession, edges: Sequence[datetime], group_by: GroupBy, *, order: Order, limit: int
) -> list[BucketUsage]:
    """Return the usage in each bucket that has any, of everybody or by group.

    By user it is everybody's, and that of the `limit` accounts with most of it.
    """
    match group_by:
        case "none":
            statement: Select[Any] | CompoundSelect[Any] = _CELLS_OF_EVERYBODY
        case "model":
            statement = _CELLS_OF_MODELS
        case "user":
            statement = _CELLS_OF_USERS[order]
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
    """Return the usage of each model that has any."""
    rows = await session.execute(_MODELS, {"p_from": start, "p_to": end})
    return {model: UsageMetrics(*sums) for model, *sums in rows}


async def stream_usage_by_user(
    session: AsyncSession, start: datetime, end: datetime, *, order: Order, limit: int | None
) -> AsyncIterator[tuple[Group, UsageMetrics]]:
    """Return everybody's usage, and then that of the accounts with most of it, as PostgreSQL gives them.

    Everybody are also those whose accounts have been erased. The session must have a transaction.
    """
    statement = _USERS[order] if limit is None else _FIRST_USERS[order]
    rows = await session.stream(statement, {"p_from": start, "p_to": end, "p_limit": limit})
    async for key, name, *sums in rows:
        yield Group(key, name), UsageMetrics(*sums)


async def error_counts(session: AsyncSession, start: datetime, end: datetime) -> list[tuple[str, str | None, int]]:
    """Return how many calls of each model failed by each code, and without a code, how many there were."""
    return [
        (model, code, calls) for model, code, calls in await session.execute(_ERRORS, {"p_from": start, "p_to": end})
    ]
