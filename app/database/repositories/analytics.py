"""Figures for admins, counted by the database."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import ScalarSelect, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import SQLCoreOperations

from app.database.models import ChatMessage, ChatSession, User
from app.database.repositories.usage import by_quarter, summed, was_active


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over everything that is stored."""

    generated_at: datetime
    users: int
    users_enabled: int
    users_active: int
    sessions: int
    messages: int
    turns: int
    turns_failed: int
    turns_by_fallback: int
    calls: int
    calls_failed: int
    calls_cached: int
    calls_unpriced: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal


async def totals(session: AsyncSession, *, active_within: timedelta) -> Totals:
    """Count. One statement, so all figures are of the same moment.

    `users_active` made a call within `active_within`, to the quarter of an hour. Turns and calls come from the ledger,
    so they still count what has been deleted since.
    """
    usage = by_quarter()
    is_answer = usage.c.purpose == "answer"
    turns = summed(usage, "turns", is_answer)
    row = (
        await session.execute(
            select(
                func.now().label("generated_at"),
                _count(User.id).label("users"),
                _count(User.id, User.is_active).label("users_enabled"),
                _count(User.id, was_active(User.id, func.now() - active_within)).label("users_active"),
                _count(ChatSession.id).label("sessions"),
                _count(ChatMessage.id).label("messages"),
                turns.label("turns"),
                # Not what was stopped, nor what its process left behind: no model failed there.
                (turns - summed(usage, "ok", is_answer) - summed(usage, "cancelled", is_answer)).label("turns_failed"),
                summed(usage, "fallback", is_answer).label("turns_by_fallback"),
                summed(usage, "calls").label("calls"),
                (summed(usage, "calls") - summed(usage, "ok") - summed(usage, "cancelled")).label("calls_failed"),
                summed(usage, "cached").label("calls_cached"),
                summed(usage, "unpriced").label("calls_unpriced"),
                summed(usage, "prompt_tokens").label("prompt_tokens"),
                summed(usage, "completion_tokens").label("completion_tokens"),
                summed(usage, "cost_usd").label("cost_usd"),
            ).select_from(usage)
        )
    ).one()
    return Totals(**row._asdict())


def _count(column: SQLCoreOperations[Any], *where: SQLCoreOperations[bool]) -> ScalarSelect[int]:
    return select(func.count(column)).where(*where).scalar_subquery()
