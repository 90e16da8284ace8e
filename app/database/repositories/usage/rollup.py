"""Roll-up of pending ledger rows into the usage roll-up tables."""

from typing import Any

from sqlalchemy import Integer, Select, bindparam, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import LlmCall, UsagePending, User
from app.database.repositories.usage import rollup_tables


def _roll_up_statement() -> Select[Any]:
    batch = (
        select(UsagePending.call_id)
        .order_by(UsagePending.call_id)
        .limit(bindparam("p_limit", type_=Integer))
        .with_for_update(skip_locked=True)
        .cte("batch")
    )
    taken = (
        delete(UsagePending)
        .where(UsagePending.call_id.in_(select(batch.c.call_id)))
        .returning(UsagePending.call_id)
        .cte("taken")
    )
    calls = select(LlmCall).join(taken, LlmCall.id == taken.c.call_id).cte("calls")
    # The lock orders this statement and the erasure of an account, which deletes its roll-ups: either the erasure
    # waits, or the account is not found here.
    owners = (
        select(User.id)
        .where(User.id.in_(select(calls.c.user_id)))
        .order_by(User.id)
        .with_for_update(key_share=True, read=True)
        .cte("owners")
    )
    owned = select(calls).join(owners, owners.c.id == calls.c.user_id).cte("owned")
    added = (
        each.upsert(each.aggregate(owned if each.is_by_user else calls).subquery("new")) for each in rollup_tables.ALL
    )
    return select(func.count(taken.c.call_id)).add_cte(
        *(statement.cte(f"to_{each.table.name}") for each, statement in zip(rollup_tables.ALL, added, strict=True))
    )


_ROLL_UP = _roll_up_statement()


async def roll_up(connection: AsyncConnection, *, limit: int) -> int:
    """Add at most `limit` pending ledger rows to the roll-ups, atomically; return their number."""
    count: int = (await connection.execute(_ROLL_UP, {"p_limit": limit})).scalar_one()
    return count
