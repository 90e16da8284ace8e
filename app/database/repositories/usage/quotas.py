"""Quotas: what an account may use of models in a day and in a month, and what it has used.

What was used is what the ledger says, whoever wrote it there. What turns under way may still use is reserved.
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
from app.database.repositories.usage import totals

_ANSWERS_LOOKED_AT = 5
"""Of a session. The largest of them tells how much goes to the model with the next question."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What an account may use. Days and months begin at midnight in UTC. Costs are in US dollars."""

    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    cost_per_day: Decimal | None = None
    cost_per_month: Decimal | None = None

    def over(self, defaults: "Quota") -> Self:
        """Return what holds: these figures, and the defaults where there are none. In the result None is no limit."""
        mine, others = asdict(self), asdict(defaults)
        held = {name: others[name] if value is None else value for name, value in mine.items()}
        return type(self)(**{name: value or None for name, value in held.items()})

    @property
    def is_none(self) -> bool:
        """Whether there is no figure at all."""
        return not any(asdict(self).values())


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """What an account has used, and what its turns under way may still use."""

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
    """The most that an answer may use, as far as the question tells."""

    turn_id: UUID
    user_id: int
    session_uuid: UUID | None
    """What was said there before goes to the model too."""
    tokens: int
    cost_usd: Decimal
    prompt_price: Decimal
    """Of one token of what was said before."""
    life: timedelta
    """Longer than the turn can take."""


_USER_ID = bindparam("p_user_id", type_=BigInteger)
_COLUMNS = {name.name: User.__table__.c[f"quota_{name.name}"] for name in fields(Quota)}


def _begins(period: str) -> ColumnElement[datetime]:
    return func.date_trunc(period, func.now(), "UTC", type_=TIMESTAMP(timezone=True))


def _ends(period: str) -> ColumnElement[datetime]:
    # In UTC's own calendar: what a day or a month is there does not depend on the session.
    end = func.timezone("UTC", _begins(period)) + text(f"interval '1 {period}'")
    return func.timezone("UTC", end, type_=TIMESTAMP(timezone=True))


def _use_statement() -> Select[Any]:
    quarters = totals.by_quarter(_USER_ID)
    tokens, cost = quarters.c.prompt_tokens + quarters.c.completion_tokens, quarters.c.cost_usd
    today = quarters.c.quarter >= _begins("day")
    used = (
        select(
            cast(func.coalesce(func.sum(tokens).filter(today), 0), BigInteger).label("tokens_today"),
            cast(func.coalesce(func.sum(tokens), 0), BigInteger).label("tokens_this_month"),
            func.coalesce(func.sum(cost).filter(today), 0).label("cost_today"),
            func.coalesce(func.sum(cost), 0).label("cost_this_month"),
        )
        .where(quarters.c.quarter >= _begins("month"))
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
        _ends("day").label("day_ends_at"),
        _ends("month").label("month_ends_at"),
        func.now().label("at"),
    ).select_from(used.join(reserved, literal(value=True)))


def _reserve_statement() -> Select[Any]:
    use = _use_statement().cte("use")
    asked_in = (ChatSession.uuid == bindparam("p_session_uuid", type_=Uuid), ChatSession.user_id == _USER_ID)
    answers = (
        select(ChatMessage.tokens_used)
        .join(ChatSession, ChatMessage.session_id == ChatSession.id)
        .where(*asked_in, ChatMessage.role == "assistant")
        .order_by(ChatMessage.seq.desc())
        .limit(_ANSWERS_LOOKED_AT)
        .subquery("answers")
    )
    # Its own instructions are in the largest answer too, once there is one.
    instructions = select(func.octet_length(ChatSession.meta["system_prompt"].astext) / 2).where(*asked_in)
    before = select(
        (
            func.coalesce(select(func.max(answers.c.tokens_used)).scalar_subquery(), 0)
            + func.coalesce(instructions.scalar_subquery(), 0)
        ).label("tokens")
    ).cte("before")
    in_use = {
        "tokens_per_day": use.c.tokens_today + use.c.tokens_reserved,
        "tokens_per_month": use.c.tokens_this_month + use.c.tokens_reserved,
        "cost_per_day": use.c.cost_today + use.c.cost_reserved,
        "cost_per_month": use.c.cost_this_month + use.c.cost_reserved,
    }
    limits = {name: bindparam(f"p_{name}", type_=_COLUMNS[name].type) for name in in_use}
    reserved = (
        insert(QuotaReservation)
        .from_select(
            ["turn_id", "user_id", "tokens", "cost_usd", "expires_at"],
            select(
                bindparam("p_turn_id", type_=Uuid),
                _USER_ID,
                bindparam("p_tokens", type_=BigInteger) + before.c.tokens,
                bindparam("p_cost_usd", type_=Numeric) + bindparam("p_prompt_price", type_=Numeric) * before.c.tokens,
                func.now() + bindparam("p_life", type_=Interval),
            )
            .select_from(use.join(before, literal(value=True)))
            .where(*(or_(limits[name].is_(None), amount < limits[name]) for name, amount in in_use.items())),
        )
        .returning(QuotaReservation.turn_id)
        .cte("reserved")
    )
    return select(select(reserved.c.turn_id).exists().label("is_reserved"), *use.c)


_OWN = select(*_COLUMNS.values()).where(User.id == _USER_ID)
_LOCK = _OWN.with_for_update(key_share=True)
_USE = _use_statement()
_RESERVE = _reserve_statement()
_RELEASE = delete(QuotaReservation).where(QuotaReservation.turn_id == bindparam("p_turn_id", type_=Uuid))
_PURGE = batch_deletion.delete_statement(QuotaReservation.turn_id, QuotaReservation.expires_at <= func.now())


async def lock(session: AsyncSession, user_id: int) -> Quota | None:
    """Return the account's own quota, and let nobody else reserve until the transaction ends. None: it was erased.

    Turns of the account run on: they hold a weaker lock, which this one lets pass.
    """
    row = (await session.execute(_LOCK, {"p_user_id": user_id})).one_or_none()
    return Quota(*row) if row else None


async def reserve(session: AsyncSession, wanted: Reservation, quota: Quota) -> tuple[bool, QuotaUse]:
    """Reserve what an answer may use, unless there is nothing left. Return whether, and the use up to now.

    `quota` is what holds. The account has been locked with `lock`, so of two at once the second sees the first.
    What is left need not be enough: one answer may take the account over its quota, and none after it.
    """
    values = {f"p_{name}": value for name, value in (asdict(wanted) | asdict(quota)).items()}
    is_reserved, *use = (await session.execute(_RESERVE, values)).one()
    return is_reserved, QuotaUse(*use)


async def release(connection: AsyncConnection, *, turn_id: UUID) -> None:
    """Give back what was reserved for a turn that the ledger will not hear of."""
    await connection.execute(_RELEASE, {"p_turn_id": turn_id})


async def own(session: AsyncSession, user_id: int) -> Quota | None:
    """Return the account's own quota. None: it was erased."""
    row = (await session.execute(_OWN, {"p_user_id": user_id})).one_or_none()
    return Quota(*row) if row else None


async def used(session: AsyncSession, user_id: int) -> QuotaUse:
    """Return what an account has used."""
    return QuotaUse(*(await session.execute(_USE, {"p_user_id": user_id})).one())


async def change(session: AsyncSession, user_id: int, quota: Quota) -> None:
    """Give an account a quota of its own: None, as everybody; 0, no limit."""
    values: dict[str, Any] = {f"quota_{name}": value for name, value in asdict(quota).items()}
    await session.execute(update(User).where(User.id == user_id).values(**values))


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Remove reservations whose time is over, `limit` at most, and say how many."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)
