"""Usage ledger: append-only rows, one for each attempt at a model call."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from asyncpg import UniqueViolationError
from sqlalchemy import CTE, BigInteger, Uuid, bindparam, case, column, func, select, true
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.exc import IntegrityError

from app.database import statements
from app.database.constraint_errors import violated_constraint
from app.database.models import LlmCall, User
from app.database.repositories.turns import idempotency_keys
from app.database.repositories.turns.idempotency_keys import StoredResponse
from app.database.statements import AnyConnection, Statement

CallPurpose = Literal["answer", "summary", "title"]

TURN_ATTEMPT_CONSTRAINT = "uq_llm_calls_turn_id_attempt"
"""Unique constraint that prevents a turn from being recorded twice."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """Attempt at a model call, as stored in the ledger."""

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
    cost_usd: Decimal | None = None
    is_cached: bool = False
    purpose: CallPurpose = "answer"
    fallback_reason: str | None = None
    provider: str | None = None


_COLUMNS = [field.name for field in fields(LedgerEntry)]


def owner_statement() -> CTE:
    """Build the locking lookup of the account `p_user_id`; no row if it has been erased.

    Erasure removes the account's identity from the ledger. The lock orders both: either the erasure waits, or the
    account is not found here.
    """
    return (
        select(User.id)
        .where(User.id == bindparam("p_user_id", type_=BigInteger))
        .with_for_update(key_share=True, read=True)
        .cte("owner")
    )


def append_statement(owner: CTE, *, where_any: CTE | None = None) -> Insert:
    """Build the insertion of all attempts of a turn, with the parameters of `append_parameters`.

    A turn that is already recorded violates `TURN_ATTEMPT_CONSTRAINT`. With `where_any` rows are inserted only if that
    query returns a row, and a turn that is already recorded is ignored.
    """
    calls = (
        func.jsonb_to_recordset(bindparam("p_calls", type_=JSONB))
        .table_valued(*(column(name, LlmCall.__table__.c[name].type) for name in _COLUMNS), name="calls")
        .render_derived(with_types=True)
    )
    rows = select(
        bindparam("p_turn_id", type_=Uuid),
        owner.c.id,
        case((owner.c.id.is_not(None), bindparam("p_session_id", type_=BigInteger))),
        *calls.c,
    ).select_from(calls.outerjoin(owner, true()))
    if where_any is not None:
        rows = rows.where(select(where_any).exists())
    statement = insert(LlmCall).from_select(["turn_id", "user_id", "session_id", *_COLUMNS], rows)
    return statement if where_any is None else statement.on_conflict_do_nothing(constraint=TURN_ATTEMPT_CONSTRAINT)


def append_parameters(
    *, turn_id: UUID, user_id: int, session_id: int | None, calls: Sequence[LedgerEntry]
) -> dict[str, Any]:
    """Return the parameters of `append_statement` and `owner_statement`."""
    return {
        "p_turn_id": turn_id,
        "p_user_id": user_id,
        "p_session_id": session_id,
        "p_calls": list(map(_call_fields, calls)),
    }


def _call_fields(call: LedgerEntry) -> dict[str, Any]:
    row = {name: getattr(call, name) for name in _COLUMNS}
    if call.cost_usd is not None:
        row["cost_usd"] = str(call.cost_usd)  # a JSON number would be converted to a float
    return row


def is_duplicate_turn(error: BaseException) -> bool:
    """Return whether an insertion failed because the turn is already recorded."""
    return violated_constraint(error) == TURN_ATTEMPT_CONSTRAINT


_append_calls = append_statement(owner_statement())
_APPEND = Statement(_append_calls)
_APPEND_WITH_RESPONSE = Statement(_append_calls.add_cte(idempotency_keys.store_response_statement().cte("key")))


async def record_calls(
    connection: AnyConnection,
    *,
    turn_id: UUID,
    user_id: int,
    session_id: int | None = None,
    calls: Sequence[LedgerEntry],
    stored_response: StoredResponse | None = None,
) -> None:
    """Append attempts without a stored answer: those of a direct question, or of a summary or title of a session.

    `stored_response` is the response to a direct question that is stored under its idempotency key in the same
    statement. The call is idempotent: a `turn_id` that is already recorded is ignored.
    """
    values = append_parameters(turn_id=turn_id, user_id=user_id, session_id=session_id, calls=calls)
    statement = _APPEND
    if stored_response is not None:
        statement, values = _APPEND_WITH_RESPONSE, values | idempotency_keys.response_parameters(stored_response)
    try:
        await statements.fetch(connection, statement, values)
    except (IntegrityError, UniqueViolationError) as error:
        if not is_duplicate_turn(error):
            raise
