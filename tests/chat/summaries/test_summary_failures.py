"""Summaries during model errors, database outages, shutdowns and deletions."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.chat.summaries import summarizer
from app.core.exceptions import DatabaseUnavailableError
from app.database.repositories.usage import ledger as ledger_rows
from app.graph.ports.chat_model import ModelError
from tests.chat.summaries.summary_sessions import POLICY, Session, SummarizingModel, stored_summary, summary_statuses
from tests.fixtures.database import Sql


async def test_failed_summary_is_retried_after_the_next_turn(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    session = open_session()
    summarize = model.summarize

    def fail(_messages: str) -> str:
        raise ModelError("model_busy", retryable=True)

    model.summarize = fail
    turns = await session.ask_questions(1, 2, 3)
    assert turns[-1].answer.status == "complete"
    assert stored_summary(sql) == (None, 0, False)
    model.summarize = summarize
    await session.ask_questions(4)
    summary, upto, is_busy = stored_summary(sql)
    assert (upto, is_busy) == (6, False)
    assert "Question 1?" in str(summary)
    assert summary_statuses(sql) == ["error", "ok", "ok"]


async def test_fallback_model_generates_the_summary_if_the_first_model_fails(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    summarize = model.summarize

    def fail_once(_messages: str) -> str:
        model.summarize = summarize
        raise ModelError("model_busy", retryable=True)

    model.summarize = fail_once
    await open_session(replace(POLICY, models=("primary", "fallback"))).ask_questions(1, 2, 3)
    assert [request.model for request in model.summary_requests] == ["primary", "fallback"]
    assert stored_summary(sql)[1] == 4
    assert summary_statuses(sql) == ["error", "ok"]


async def test_summary_is_recorded_in_the_ledger_after_a_database_outage(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, outages = ledger_rows.record_calls, [True, True]

    async def record_after_outages(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - passed on
        if outages:
            outages.pop()
            raise DatabaseUnavailableError
        await record(*arguments, **named)

    monkeypatch.setattr(ledger_rows, "record_calls", record_after_outages)
    await open_session().ask_questions(1, 2, 3)
    assert (summary_statuses(sql), stored_summary(sql)[1]) == (["ok"], 4)


async def test_summary_cancelled_at_shutdown_is_generated_by_another_process(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    stopping = await open_session().block_in_summary(model)
    await stopping.summarizer.drain(0.05)
    assert stored_summary(sql) == (None, 0, False)
    assert summary_statuses(sql) == ["cancelled"]
    model.gate.set()
    await open_session().ask_questions(4)
    assert stored_summary(sql)[1] == 6


async def test_summary_finished_within_the_grace_period_is_stored(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    stopping = await open_session().block_in_summary(model)
    draining = asyncio.create_task(stopping.summarizer.drain(5))
    await asyncio.sleep(0)
    model.gate.set()
    await draining
    assert stored_summary(sql)[1] == 4


async def test_summary_of_a_deleted_session_is_discarded_and_recorded_in_the_ledger(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    session = await open_session().block_in_summary(model)
    sql.do("DELETE FROM chat_sessions")
    model.gate.set()
    await session.wait_for_summaries()
    assert sql.value("SELECT count(*) FROM llm_calls") == 4


@pytest.mark.parametrize("first_deleted", [1, 6])
async def test_summary_of_deleted_messages_is_discarded(
    open_session: Callable[..., Session],
    model: SummarizingModel,
    sql: Sql,
    caplog: pytest.LogCaptureFixture,
    first_deleted: int,
) -> None:
    session = await open_session().block_in_summary(model)
    sql.do("DELETE FROM chat_messages WHERE seq >= %s", [first_deleted])
    model.gate.set()
    await session.wait_for_summaries()
    assert stored_summary(sql) == (None, 0, False)
    assert summary_statuses(sql) == ["ok"]
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


async def test_summaries_that_are_written_at_the_same_time_are_bounded(
    open_session: Callable[..., Session], model: SummarizingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summarizer, "MAX_TASKS", 0)
    session = open_session()
    await session.ask_questions(1, 2, 3)
    assert not model.summary_requests
    monkeypatch.setattr(summarizer, "MAX_TASKS", 1)
    await session.ask_questions(4)
    assert model.summary_requests
