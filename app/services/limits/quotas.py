"""Quotas of accounts: tokens and cost of model calls per day and month.

The budget of a turn is reserved before a model is called, and replaced by the real usage when the ledger has it. One
turn may exceed the quota of an account; its reservation prevents further turns from doing so.
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
from app.core.schema_types import ResponseModel, Usd
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.models import User
from app.database.repositories.accounts import users
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.usage import quotas
from app.database.repositories.usage.quotas import Quota, QuotaUse, Reservation
from app.database.repositories.webhooks import event_outbox
from app.database.repositories.webhooks.event_outbox import WebhookEvent

_RETRY_AFTER = 2
"""`Retry-After` in seconds if turns in progress have reserved the rest of the quota."""


@dataclass(frozen=True, slots=True)
class TurnBudget:
    """Maximum usage of one turn."""

    tokens: int
    """Tokens of question and answer, without the history."""
    cost_usd: Decimal
    """Cost of these tokens in US dollars."""
    prompt_price: Decimal
    """US dollars for one token of the history."""


class Allowance(ResponseModel):
    """State of one quota."""

    resets_at: datetime = Field(description="End of the day or month in UTC.")


class TokenAllowance(Allowance):
    """Quota of tokens, of prompts and answers together."""

    limit: int | None = Field(description="Tokens per period. Null: no limit.")
    used: int = Field(description="Tokens used since the start of the period.")
    reserved: int = Field(description="Tokens reserved for answers, summaries and titles in progress.")
    remaining: int | None = Field(
        description="Remaining tokens: `limit` - `used` - `reserved`, at least 0. Null: no limit."
    )


class CostAllowance(Allowance):
    """Quota of cost in US dollars."""

    limit: Usd | None = Field(description="US dollars per period. Null: no limit.")
    used: Usd = Field(description="Cost since the start of the period, in US dollars.")
    reserved: Usd = Field(description="Cost reserved for answers, summaries and titles in progress, in US dollars.")
    remaining: Usd | None = Field(
        description="Remaining US dollars: `limit` - `used` - `reserved`, at least 0. Null: no limit."
    )


class QuotaStanding(ResponseModel):
    """Quotas of an account, and what it has used of them. Days and months start at midnight UTC."""

    tokens_per_day: TokenAllowance = Field(description="Tokens per day in UTC.")
    tokens_per_month: TokenAllowance = Field(description="Tokens per month in UTC.")
    cost_per_day: CostAllowance = Field(description="Cost per day in UTC, in US dollars.")
    cost_per_month: CostAllowance = Field(description="Cost per month in UTC, in US dollars.")

    @classmethod
    def of(cls, quota: Quota, use: QuotaUse) -> Self:
        """Return the response for a quota and its usage."""
        return cls(
            tokens_per_day=_token_allowance(quota.tokens_per_day, use.tokens_today, use, use.day_ends_at),
            tokens_per_month=_token_allowance(quota.tokens_per_month, use.tokens_this_month, use, use.month_ends_at),
            cost_per_day=_cost_allowance(quota.cost_per_day, use.cost_today, use, use.day_ends_at),
            cost_per_month=_cost_allowance(quota.cost_per_month, use.cost_this_month, use, use.month_ends_at),
        )


@dataclass(frozen=True, slots=True)
class QuotaService:
    """Checks and reserves the quotas of accounts."""

    database: Database
    defaults: Quota
    """Quota of accounts that have no quota of their own."""

    def is_limited(self, user: Principal) -> bool:
        """Return whether a user may have a quota, so that turns must be reserved."""
        return user.has_own_quota or not self.defaults.is_empty

    async def reserve(
        self, budget: TurnBudget, *, turn_id: UUID, user_id: int, session_uuid: UUID | None, life: timedelta
    ) -> None:
        """Reserve the budget of a turn, until the ledger has its usage or `life` has passed.

        Raises:
            TooManyRequestsError: a quota is used up, or the rest of it is reserved.

        """
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            own = await quotas.lock_quota(session, user_id)
            quota = (own or Quota()).with_defaults(self.defaults)
            if own is None or quota.is_empty:
                return
            reservation = Reservation(
                turn_id, user_id, session_uuid, budget.tokens, budget.cost_usd, budget.prompt_price, life
            )
            is_reserved, use = await quotas.reserve(session, reservation, quota)
        if not is_reserved:
            exceeded = _exceeded_allowances(QuotaStanding.of(quota, use))
            await self._emit_exceeded(user_id, exceeded)
            raise _quota_error(exceeded, use)

    async def _emit_exceeded(self, user_id: int, exceeded: Mapping[str, TokenAllowance | CostAllowance]) -> None:
        # After the lock on the account is released, because other requests wait for it.
        if not exceeded:
            return
        with suppress(DatabaseUnavailableError):  # the next refused turn emits the event
            async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
                if user := await users.get(session, user_id):
                    for name, allowance in exceeded.items():
                        await event_outbox.emit(session, _quota_event(user, name, allowance))

    async def release(self, turn_id: UUID) -> None:
        """Release the reservation of a turn that did not call a model."""
        with suppress(DatabaseUnavailableError):  # the reservation expires
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await quotas.release(connection, turn_id=turn_id)

    async def get_standing(self, session: DatabaseSession, user_id: int) -> QuotaStanding:
        """Return the quotas of an account, and its usage of them."""
        quota = (await quotas.find_quota(session, user_id) or Quota()).with_defaults(self.defaults)
        return QuotaStanding.of(quota, await quotas.read_use(session, user_id))


def default_quota(settings: Settings) -> Quota:
    """Return the default quota from the settings."""
    return Quota(
        tokens_per_day=settings.QUOTA_TOKENS_PER_DAY,
        tokens_per_month=settings.QUOTA_TOKENS_PER_MONTH,
        cost_per_day=settings.QUOTA_COST_PER_DAY,
        cost_per_month=settings.QUOTA_COST_PER_MONTH,
    )


def _exceeded_allowances(standing: QuotaStanding) -> dict[str, TokenAllowance | CostAllowance]:
    allowances: dict[str, TokenAllowance | CostAllowance] = dict(standing)
    return {
        name: allowance
        for name, allowance in allowances.items()
        if allowance.limit is not None and allowance.used >= allowance.limit
    }


def _quota_event(user: User, quota: str, allowance: TokenAllowance | CostAllowance) -> WebhookEvent:
    state = allowance.model_dump(mode="json", include={"limit", "used", "resets_at"})
    # A deterministic id, so that there is one event per quota and period, however many turns are refused.
    event_id = uuid5(user.uuid, f"quota.exceeded {quota} {allowance.resets_at.isoformat()}")
    return WebhookEvent(
        "quota.exceeded", {"user_id": str(user.uuid), "quota": quota, **state}, user_id=user.id, id=event_id
    )


def _quota_error(exceeded: Mapping[str, TokenAllowance | CostAllowance], use: QuotaUse) -> TooManyRequestsError:
    if not exceeded:
        return TooManyRequestsError(
            "The rest of your quota is reserved for answers in progress.",
            code="quota_reserved",
            retry_after=_RETRY_AFTER,
        )
    resets = ((name, allowance.resets_at) for name, allowance in exceeded.items())
    name, resets_at = max(resets, key=itemgetter(1))
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
