"""The ledger: what every attempt at a model came to. It is appended to, by whoever ends a turn."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import CTE, BigInteger, Uuid, bindparam, case, column, func, select, true
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import LlmCall, User
from app.database.repositories import idempotency
from app.database.repositories.idempotency import KeptResponse


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One attempt at a model, as the ledger keeps it."""

    attempt: int
    model_requested: str
    model_used: str | None
    is_fallback: bool
    status: Literal["ok", "error", "cancelled"]
    error_code: str | None
    prompt_tokens: int
    completion_tokens: int
    is_estimated: bool
    latency_ms: int
    first_token_ms: int | None = None
    is_cached: bool = False


_COLUMNS = [field.name for field in fields(LedgerEntry)]


def owner_statement() -> CTE:
    """Build the look-up of the account `p_user_id`: no row, once it has been erased.

    Erasing an account takes the identity out of the ledger: it waits for this lock, or this finds nobody.
    """
    return (
        select(User.id)
        .where(User.id == bindparam("p_user_id", type_=BigInteger))
        .with_for_update(key_share=True, read=True)
        .cte("owner")
    )


def append_statement(owner: CTE) -> Insert:
    """Build the insertion of a turn's attempts, to be run with `parameters`."""
    calls = (
        func.jsonb_to_recordset(bindparam("p_calls", type_=JSONB))
        .table_valued(*(column(name, LlmCall.__table__.c[name].type) for name in _COLUMNS), name="calls")
        .render_derived(with_types=True)
    )
    statement = insert(LlmCall).from_select(
        ["turn_id", "user_id", "session_id", *_COLUMNS],
        select(
            bindparam("p_turn_id", type_=Uuid),
            owner.c.id,
            case((owner.c.id.is_not(None), bindparam("p_session_id", type_=BigInteger))),
            *calls.c,
        ).select_from(calls.outerjoin(owner, true())),
    )
    # Storing a turn may be tried again when its confirmation was lost.
    return statement.on_conflict_do_nothing(constraint="uq_llm_calls_turn_id_attempt")


def parameters(*, turn_id: UUID, user_id: int, session_id: int | None, calls: Sequence[LedgerEntry]) -> dict[str, Any]:
    """Return what `append_statement` and its `owner_statement` take."""
    return {
        "p_turn_id": turn_id,
        "p_user_id": user_id,
        "p_session_id": session_id,
        "p_calls": [asdict(call) for call in calls],
    }


# Built once: SQLAlchemy finds the compiled form of the same object again.
_APPEND = append_statement(owner_statement())
_APPEND_WITH_KEY = _APPEND.add_cte(idempotency.keep_statement().cte("key"))


async def record_calls(
    connection: AsyncConnection,
    *,
    turn_id: UUID,
    user_id: int,
    calls: Sequence[LedgerEntry],
    kept: KeptResponse | None = None,
) -> None:
    """Append the attempts of a direct question to the ledger, and keep what it was answered under a key."""
    values = parameters(turn_id=turn_id, user_id=user_id, session_id=None, calls=calls)
    if kept is None:
        await connection.execute(_APPEND, values)
    else:
        await connection.execute(_APPEND_WITH_KEY, values | idempotency.response_parameters(kept))
