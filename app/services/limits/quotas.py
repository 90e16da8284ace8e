"""What an account may use of models in a day and in a month.

It is reserved before a model is asked, and known when it has answered. One answer may take an account over its quota,
and with it under way the next one is refused: whatever a turn may still use is reserved until the ledger says what it
has used.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil
from operator import itemgetter
from typing import Self
from uuid import UUID, uuid5

from pydantic import Field

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError, TooManyRequestsError
from app.core.types import ResponseModel, Usd
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.models import User
from app.database.repositories.accounts import users
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.usage import quotas
from app.database.repositories.usage.quotas import Quota, QuotaUse, Reservation
from app.database.repositories.webhooks import event_outbox
from app.database.repositories.webhooks.event_outbox import WebhookEvent

_RETRY_AFTER = 2
"""Seconds after which a turn under way may have ended."""


@dataclass(frozen=True, slots=True)
class TurnBudget:
    """The most that the answer to a question may use."""

    tokens: int
    """Of the question and the answer, without what was said before."""
    cost_usd: Decimal
    """Of these."""
    prompt_price: Decimal
    """US dollars for one token of what was said before."""


class Allowance(ResponseModel):
    """One quota."""

    resets_at: datetime = Field(description="The end of the day, or of the month, in UTC.")


class TokenAllowance(Allowance):
    """Of tokens, of questions and answers together."""

    limit: int | None = Field(description="Null: none.")
    used: int
    reserved: int = Field(description="What answers under way may still use.")
    remaining: int | None


class CostAllowance(Allowance):
    """Of money, in US dollars."""

    limit: Usd | None = Field(description="Null: none.")
    used: Usd
    reserved: Usd = Field(description="What answers under way may still cost.")
    remaining: Usd | None


class QuotaStanding(ResponseModel):
    """What an account may use, and what it has used. Days and months begin at midnight in UTC."""

    tokens_per_day: TokenAllowance
    tokens_per_month: TokenAllowance
    cost_per_day: CostAllowance
    cost_per_month: CostAllowance

    @classmethod
    def of(cls, quota: Quota, use: QuotaUse) -> Self:
        """Put together what holds and what was used."""
        return cls(
            tokens_per_day=_token_allowance(quota.tokens_per_day, use.tokens_today, use, use.day_ends_at),
            tokens_per_month=_token_allowance(quota.tokens_per_month, use.tokens_this_month, use, use.month_ends_at),
            cost_per_day=_cost_allowance(quota.cost_per_day, use.cost_today, use, use.day_ends_at),
            cost_per_month=_cost_allowance(quota.cost_per_month, use.cost_this_month, use, use.month_ends_at),
        )


@dataclass(frozen=True, slots=True)
class QuotaService:
    """Decides whether a model may be asked."""

    database: Database
    defaults: Quota
    """Of everybody who has none of their own."""

    def apply_to(self, user: Principal) -> bool:
        """Whether anything has to be counted. Where nobody has a quota, nothing is."""
        return user.has_own_quota or not self.defaults.is_empty

    async def reserve(
        self, budget: TurnBudget, *, turn_id: UUID, user_id: int, session_uuid: UUID | None, life: timedelta
    ) -> None:
        """Reserve what an answer may use. It is held until the ledger has the turn, or `life` is over.

        Raises:
            TooManyRequestsError: nothing is left.

        """
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            own = await quotas.lock_quota(session, user_id)
            quota = (own or Quota()).with_defaults(self.defaults)
            if own is None or quota.is_empty:
                return
            wanted = Reservation(
                turn_id, user_id, session_uuid, budget.tokens, budget.cost_usd, budget.prompt_price, life
            )
            is_reserved, use = await quotas.reserve(session, wanted, quota)
        if not is_reserved:
            exceeded = _exceeded_allowances(QuotaStanding.of(quota, use))
            await self._tell(user_id, exceeded)
            raise _quota_error(exceeded, use)

    async def _tell(self, user_id: int, exceeded: Mapping[str, TokenAllowance | CostAllowance]) -> None:
        # Not while the account is locked: others wait for it to be refused.
        if not exceeded:
            return
        with suppress(DatabaseUnavailableError):  # the next one that is refused tells
            async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
                if user := await users.get(session, user_id):
                    for name, allowance in exceeded.items():
                        await event_outbox.emit(session, _quota_event(user, name, allowance))

    async def release(self, turn_id: UUID) -> None:
        """Give back what was reserved for a turn that came to nothing."""
        with suppress(DatabaseUnavailableError):  # it is given back in its own time
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await quotas.release(connection, turn_id=turn_id)

    async def standing(self, session: DatabaseSession, user_id: int) -> QuotaStanding:
        """Return where an account stands."""
        quota = (await quotas.find_quota(session, user_id) or Quota()).with_defaults(self.defaults)
        return QuotaStanding.of(quota, await quotas.read_use(session, user_id))


def default_quota(settings: Settings) -> Quota:
    """Return the quota of everybody who has none of their own."""
    return Quota(
        tokens_per_day=settings.QUOTA_TOKENS_PER_DAY,
        tokens_per_month=settings.QUOTA_TOKENS_PER_MONTH,
        cost_per_day=settings.QUOTA_COST_PER_DAY,
        cost_per_month=settings.QUOTA_COST_PER_MONTH,
    )


def _exceeded_allowances(standing: QuotaStanding) -> dict[str, TokenAllowance | CostAllowance]:
    found: dict[str, TokenAllowance | CostAllowance] = dict(standing)
    return {name: one for name, one in found.items() if one.limit is not None and one.used >= one.limit}


def _quota_event(user: User, quota: str, allowance: TokenAllowance | CostAllowance) -> WebhookEvent:
    figures = allowance.model_dump(mode="json", include={"limit", "used", "resets_at"})
    # By its id the event is the same one, however many questions are refused until then.
    once = uuid5(user.uuid, f"quota.exceeded {quota} {allowance.resets_at.isoformat()}")
    return WebhookEvent(
        "quota.exceeded", {"user_id": str(user.uuid), "quota": quota, **figures}, user_id=user.id, id=once
    )


def _quota_error(exceeded: Mapping[str, TokenAllowance | CostAllowance], use: QuotaUse) -> TooManyRequestsError:
    if not exceeded:
        return TooManyRequestsError(
            "What is left of your quota is reserved for the answers under way.",
            code="quota_reserved",
            retry_after=_RETRY_AFTER,
        )
    name, resets_at = max(((name, one.resets_at) for name, one in exceeded.items()), key=itemgetter(1))
    return TooManyRequestsError(
        "You have used up your quota.",
        code="quota_exceeded",
        retry_after=max(1, ceil((resets_at - use.at).total_seconds())),
        extra={"quota": name, "resets_at": resets_at.isoformat()},
    )


def _token_allowance(limit: int | None, used: int, use: QuotaUse, resets_at: datetime) -> TokenAllowance:
    reserved = use.tokens_reserved
    remaining = None if limit is None else max(limit - used - reserved, 0)
    return TokenAllowance(limit=limit, used=used, reserved=reserved, remaining=remaining, resets_at=resets_at)


def _cost_allowance(limit: Decimal | None, used: Decimal, use: QuotaUse, resets_at: datetime) -> CostAllowance:
    reserved = use.cost_reserved
    remaining = None if limit is None else max(limit - used - reserved, Decimal(0))
    return CostAllowance(limit=limit, used=used, reserved=reserved, remaining=remaining, resets_at=resets_at)
