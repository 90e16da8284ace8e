"""Adding what is pending to the sums."""

from typing import Any

from sqlalchemy import FromClause, Integer, Select, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import LlmCall, UsagePending, User
from app.database.repositories import sums
from app.database.repositories.sums import Sums


def _statement() -> Select[Any]:
    some = (
        select(UsagePending.call_id)
        .order_by(UsagePending.call_id)
        .limit(bindparam("p_limit", type_=Integer))
        .with_for_update(skip_locked=True)
        .cte("some")
    )
    taken = (
        delete(UsagePending)
        .where(UsagePending.call_id.in_(select(some.c.call_id)))
        .returning(UsagePending.call_id)
        .cte("taken")
    )
    calls = select(LlmCall).join(taken, LlmCall.id == taken.c.call_id).cte("calls")
    # Erasing an account removes its sums: it waits for this lock, or this does not find the account.
    owners = (
        select(User.id)
        .where(User.id.in_(select(calls.c.user_id)))
        .order_by(User.id)
        .with_for_update(key_share=True, read=True)
        .cte("owners")
    )
    owned = select(calls).join(owners, owners.c.id == calls.c.user_id).cte("owned")
    added = (_added(each, owned if "user_id" in each.keys else calls) for each in sums.ALL)
    return select(func.count(taken.c.call_id)).add_cte(*(each.cte(f"to_{each.table.name}") for each in added))


def _added(to: Sums, calls: FromClause) -> Insert:
    # In the order of its keys: two that add at once wait for each other in a row, never in a circle.
    new = to.of(calls).subquery("new")
    ordered = select(*(new.c[name] for name in (*to.keys, *to.counters))).order_by(*(new.c[key] for key in to.keys))
    added = insert(to.table).from_select([*to.keys, *to.counters], ordered)
    return added.on_conflict_do_update(
        index_elements=to.keys, set_={name: to.table.c[name] + added.excluded[name] for name in to.counters}
    )


_ROLL_UP = _statement()


async def roll_up(connection: AsyncConnection, *, limit: int) -> int:
    """Add at most `limit` rows of the ledger to the sums, and say how many. All of it happens, or nothing."""
    count: int = (await connection.execute(_ROLL_UP, {"p_limit": limit})).scalar_one()
    return count
