"""Quota of conversation summaries."""

from collections.abc import Callable
from decimal import Decimal

from app.services.limits.quotas import TurnBudget
from tests.chat.summaries.summary_sessions import Session, SummarizingModel, stored_summary, summary_statuses
from tests.fixtures.database import Sql


async def test_running_summary_reserves_quota(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    sql.do("UPDATE users SET quota_tokens_per_day = 1000")
    session = open_session()
    session.budget = TurnBudget(tokens=10, cost_usd=Decimal(0), prompt_price=Decimal(0))
    await session.block_in_summary(model)
    open_reservations = " FROM quota_reservations WHERE turn_id NOT IN (SELECT turn_id FROM llm_calls)"
    assert sql.value(f"SELECT sum(tokens) {open_reservations}") > (model.summary_requests[0].parameters.max_tokens or 0)
    model.gate.set()
    await session.wait_for_summaries()
    assert summary_statuses(sql) == ["ok"]
    assert sql.value(f"SELECT count(*) {open_reservations}") == 0


async def test_exhausted_quota_postpones_the_summary(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    session = open_session()
    session.budget = TurnBudget(tokens=1, cost_usd=Decimal(0), prompt_price=Decimal(0))
    sql.do("UPDATE users SET quota_tokens_per_day = 45")  # used up by three answers
    await session.ask_questions(1, 2, 3)
    assert (model.summary_requests, stored_summary(sql)) == ([], (None, 0, False))
    sql.do("UPDATE users SET quota_tokens_per_day = 0")
    await session.ask_questions(4)
    assert stored_summary(sql)[1] == 6
