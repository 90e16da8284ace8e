"""Quotas of accounts on tokens and costs per day and month, their use, and reservations for running turns.

The use is computed from the ledger. A reservation holds the maximum use of a running turn until the ledger contains it.
"""

from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    ColumnElement,
    Interval,
    Numeric,
    Select,
    Uuid,
    bindparam,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import ChatMessage, ChatSession, LlmCall, QuotaReservation, User
from app.database.repositories.operations import batch_deletion
from app.database.repositories.usage import exact_usage

_HISTORY_SAMPLE = 5
"""Number of latest answers of a session whose maximum token count estimates the size of the history."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of an account. Days and months begin at midnight in UTC. Costs are in US dollars.

    In a stored or default quota None means not set, and 0 no limit.
    """

    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    cost_per_day: Decimal | None = None
    cost_per_month: Decimal | None = None

    def with_defaults(self, defaults: "Quota") -> Self:
        """Return the effective quota: the defaults replace limits that are not set. In the result None is no limit."""
        default_limits = asdict(defaults)
        limits = {name: default_limits[name] if value is None else value for name, value in asdict(self).items()}
        return type(self)(**{name: value or None for name, value in limits.items()})

    @property
    def is_empty(self) -> bool:
        """Whether no limit is set, or all are 0."""
        return not any(asdict(self).values())


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """Use of an account, and the reservations of its running turns."""

    tokens_today: int
    tokens_this_month: int
    cost_today: Decimal
    cost_this_month: Decimal
    tokens_reserved: int
    cost_reserved: Decimal
    day_ends_at: datetime
    month_ends_at: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Reservation:
    """Maximum use of one answer, without the history of the session."""

    turn_id: UUID
    user_id: int
    session_uuid: UUID | None
    """Session whose history is added to the prompt; None for a direct question."""
    tokens: int
    cost_usd: Decimal
    prompt_price: Decimal
    """Price of one token of the history in US dollars."""
    life: timedelta
    """Time after which the reservation expires; longer than a turn can take."""


_USER_ID = bindparam("p_user_id", type_=BigInteger)
_QUOTA_COLUMNS = {name.name: User.__table__.c[f"quota_{name.name}"] for name in fields(Quota)}


def _start_of(period: str) -> ColumnElement[datetime]:
    return func.date_trunc(period, func.now(), "UTC", type_=TIMESTAMP(timezone=True))


def _end_of(period: str) -> ColumnElement[datetime]:
    # Add the interval in UTC, so that the result does not depend on the time zone of the database session.
    end = func.timezone("UTC", _start_of(period)) + text(f"interval '1 {period}'")
    return func.timezone("UTC", end, type_=TIMESTAMP(timezone=True))


def _use_statement() -> Select[Any]:
    quarters = exact_usage.usage_by_quarter(_USER_ID)
    tokens, cost = quarters.c.prompt_tokens + quarters.c.completion_tokens, quarters.c.cost_usd
    today = quarters.c.quarter >= _start_of("day")
    used = (
        select(
            cast(func.coalesce(func.sum(tokens).filter(today), 0), BigInteger).label("tokens_today"),
            cast(func.coalesce(func.sum(tokens), 0), BigInteger).label("tokens_this_month"),
            func.coalesce(func.sum(cost).filter(today), 0).label("cost_today"),
            func.coalesce(func.sum(cost), 0).label("cost_this_month"),
        )
        .where(quarters.c.quarter >= _start_of("month"))
        .subquery("used")
    )
    reserved = (
        select(
            cast(func.coalesce(func.sum(QuotaReservation.tokens), 0), BigInteger).label("tokens_reserved"),
            func.coalesce(func.sum(QuotaReservation.cost_usd), 0).label("cost_reserved"),
        )
        .where(
            QuotaReservation.user_id == _USER_ID,
            QuotaReservation.expires_at > func.now(),
            ~select(LlmCall.id).where(LlmCall.turn_id == QuotaReservation.turn_id).exists(),
        )
        .subquery("reserved")
    )
    return select(
        *used.c,
        *reserved.c,
        _end_of("day").label("day_ends_at"),
        _end_of("month").label("month_ends_at"),
        func.now().label("at"),
    ).select_from(used.join(reserved, literal(value=True)))


def _reserve_statement() -> Select[Any]:
    use = _use_statement().cte("use")
    is_session = (ChatSession.uuid == bindparam("p_session_uuid", type_=Uuid), ChatSession.user_id == _USER_ID)
    answers = (
        select(ChatMessage.tokens_used)
        .join(ChatSession, ChatMessage.session_id == ChatSession.id)
        .where(*is_session, ChatMessage.role == "assistant")
        .order_by(ChatMessage.seq.desc())
        .limit(_HISTORY_SAMPLE)
        .subquery("answers")
    )
    # The token count of an answer includes its prompt. For a session without answers the system prompt is estimated.
    instructions = select(func.octet_length(ChatSession.meta["system_prompt"].astext) / 2).where(*is_session)
    history = select(
        (
            func.coalesce(select(func.max(answers.c.tokens_used)).scalar_subquery(), 0)
            + func.coalesce(instructions.scalar_subquery(), 0)
        ).label("tokens")
    ).cte("history")
    in_use = {
        "tokens_per_day": use.c.tokens_today + use.c.tokens_reserved,
        "tokens_per_month": use.c.tokens_this_month + use.c.tokens_reserved,
        "cost_per_day": use.c.cost_today + use.c.cost_reserved,
        "cost_per_month": use.c.cost_this_month + use.c.cost_reserved,
    }
    limits = {name: bindparam(f"p_{name}", type_=_QUOTA_COLUMNS[name].type) for name in in_use}
    reserved = (
        insert(QuotaReservation)
        .from_select(
            ["turn_id", "user_id", "tokens", "cost_usd", "expires_at"],
            select(
                bindparam("p_turn_id", type_=Uuid),
                _USER_ID,
                bindparam("p_tokens", type_=BigInteger) + history.c.tokens,
                bindparam("p_cost_usd", type_=Numeric) + bindparam("p_prompt_price", type_=Numeric) * history.c.tokens,
                func.now() + bindparam("p_life", type_=Interval),
            )
            .select_from(use.join(history, literal(value=True)))
            .where(*(or_(limits[name].is_(None), amount < limits[name]) for name, amount in in_use.items())),
        )
        .returning(QuotaReservation.turn_id)
        .cte("reserved")
    )
    return select(select(reserved.c.turn_id).exists().label("is_reserved"), *use.c)


_OWN_QUOTA = select(*_QUOTA_COLUMNS.values()).where(User.id == _USER_ID)
_LOCK_QUOTA = _OWN_QUOTA.with_for_update(key_share=True)
_USE = _use_statement()
_RESERVE = _reserve_statement()
_RELEASE = delete(QuotaReservation).where(QuotaReservation.turn_id == bindparam("p_turn_id", type_=Uuid))
_PURGE = batch_deletion.delete_statement(QuotaReservation.turn_id, QuotaReservation.expires_at <= func.now())


async def lock_quota(session: AsyncSession, user_id: int) -> Quota | None:
    """Lock the account against other reservations until the transaction ends, and return its own quota.

    None: the account has been erased. Running turns are not blocked, because their lock is compatible with this one.
    """
    row = (await session.execute(_LOCK_QUOTA, {"p_user_id": user_id})).one_or_none()
    return Quota(*row) if row else None


async def reserve(session: AsyncSession, reservation: Reservation, quota: Quota) -> tuple[bool, QuotaUse]:
    """Store a reservation unless a limit is reached; return whether it was stored, and the use before it.

    `quota` is the effective quota. The account must have been locked with `lock_quota`, so that concurrent reservations
    see each other. The remainder may be smaller than the reservation: one answer may exceed the quota.
    """
    values = {f"p_{name}": value for name, value in (asdict(reservation) | asdict(quota)).items()}
    is_reserved, *use = (await session.execute(_RESERVE, values)).one()
    return is_reserved, QuotaUse(*use)


async def release(connection: AsyncConnection, *, turn_id: UUID) -> None:
    """Delete the reservation of a turn that adds no rows to the ledger."""
    await connection.execute(_RELEASE, {"p_turn_id": turn_id})


async def find_quota(session: AsyncSession, user_id: int) -> Quota | None:
    """Return the account's own quota; None if the account has been erased."""
    row = (await session.execute(_OWN_QUOTA, {"p_user_id": user_id})).one_or_none()
    return Quota(*row) if row else None


async def read_use(session: AsyncSession, user_id: int) -> QuotaUse:
    """Return the current use of an account."""
    return QuotaUse(*(await session.execute(_USE, {"p_user_id": user_id})).one())


async def set_quota(session: AsyncSession, user_id: int, quota: Quota) -> None:
    """Store an account's own quota. A limit of None means the default, 0 no limit."""
    values: dict[str, Any] = {f"quota_{name}": value for name, value in asdict(quota).items()}
    await session.execute(update(User).where(User.id == user_id).values(**values))


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Delete at most `limit` expired reservations; return their number."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)
