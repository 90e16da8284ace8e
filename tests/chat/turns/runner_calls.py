"""Helpers for tests that call the turn runner without HTTP."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

from app.chat.turns.presenters import direct_response, turn_response
from app.chat.turns.question import DirectTurn, Presenter, Question
from app.chat.turns.runner import TurnRunner
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.turns.idempotency_keys import IdempotentRequest
from app.database.repositories.turns.turns import Turn
from app.services.limits.quotas import TurnBudget

USER = uuid4()


def principal(user_id: int) -> Principal:
    return Principal(user_id, USER, role="user", is_verified=True, session_uuid=uuid4())


def make_question(
    user_id: int,
    session: UUID,
    message: str = "Hi",
    context: dict[str, Any] | None = None,
    *,
    key: IdempotentRequest | None = None,
    budget: TurnBudget | None = None,
) -> Question:
    presenter = Presenter(turn_response)
    return Question(principal(user_id), session, message, context or {}, presenter, key=key, budget=budget)


def make_direct_question(user_id: int, message: str = "Hi") -> Question:
    return Question(principal(user_id), None, message, {}, Presenter(direct_response))


async def run_turn(runner: TurnRunner, question: Question) -> Turn:
    """Ask a question in a session and return its turn. Cancelling this call does not cancel the turn."""
    running = await runner.launch(question, stream=False)
    turn = await asyncio.shield(running.result)
    assert isinstance(turn, Turn)
    return turn


async def run_direct_turn(runner: TurnRunner, question: Question) -> DirectTurn:
    """Ask a direct question and return its turn. Cancelling this call does not cancel the turn."""
    running = await runner.launch(question, stream=False)
    turn = await asyncio.shield(running.result)
    assert isinstance(turn, DirectTurn)
    return turn
