"""Figures for admins, counted by the database."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ScalarSelect, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import SQLCoreOperations

from app.database.models import ChatMessage, ChatSession, LlmCall, User


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
    prompt_tokens: int
    completion_tokens: int


async def totals(session: AsyncSession, *, active_within: timedelta) -> Totals:
    """Count. One statement, so all figures are of the same moment.

    `users_active` made a call within `active_within`. Turns and calls come from the ledger, so they still count
    what has been deleted since.
    """
    per_turn = (
        select(
            LlmCall.turn_id,
            # Not what was stopped, nor what its process left behind: no model failed there.
            func.bool_and(LlmCall.status == "error").label("failed"),
            func.bool_or((LlmCall.status == "ok") & LlmCall.is_fallback).label("by_fallback"),
        )
        .group_by(LlmCall.turn_id)
        .subquery()
    )
    row = (
        await session.execute(
            select(
                func.now().label("generated_at"),
                _count(User.id).label("users"),
                _count(User.id, User.is_active).label("users_enabled"),
                select(func.count(LlmCall.user_id.distinct()))
                .where(LlmCall.created_at > func.now() - active_within)
                .scalar_subquery()
                .label("users_active"),
                _count(ChatSession.id).label("sessions"),
                _count(ChatMessage.id).label("messages"),
                func.count().label("turns"),
                func.count().filter(per_turn.c.failed).label("turns_failed"),
                func.count().filter(per_turn.c.by_fallback).label("turns_by_fallback"),
                _count(LlmCall.id).label("calls"),
                _count(LlmCall.id, LlmCall.status == "error").label("calls_failed"),
                _sum(LlmCall.prompt_tokens).label("prompt_tokens"),
                _sum(LlmCall.completion_tokens).label("completion_tokens"),
            ).select_from(per_turn)
        )
    ).one()
    return Totals(**row._asdict())


def _count(column: SQLCoreOperations[Any], *where: SQLCoreOperations[bool]) -> ScalarSelect[int]:
    return select(func.count(column)).where(*where).scalar_subquery()


def _sum(column: SQLCoreOperations[int]) -> ScalarSelect[int]:
    return select(func.coalesce(func.sum(column), 0)).scalar_subquery()
