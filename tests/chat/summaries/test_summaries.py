"""Conversation summaries of sessions that exceed the history window."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from app.graph.context_window import prompt_budget, prompt_tokens
from app.graph.ports.chat_model import Sampling
from tests.chat.summaries.summary_sessions import POLICY, Session, SummarizingModel, stored_summary, summary_statuses
from tests.fixtures.database import Sql
from tests.support.fakes import INSTRUCTIONS
from tests.support.waiting import LONGEST_WAIT


async def test_messages_that_leave_the_window_are_summarized_in_the_system_prompt(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    session = open_session()
    turns = await session.ask_questions(1, 2, 3, 4)
    assert stored_summary(sql) == (
        "- digest: User: Question 1? / Assistant: Answer 1. / User: Question 2? / Assistant: Answer 2.",
        4,
        False,
    )
    system, *rest = model.answer_requests[3].messages
    instructions = str(system["content"])
    assert instructions.startswith(INSTRUCTIONS({}))
    assert instructions.endswith(stored_summary(sql)[0] or "")
    assert "no instructions" in instructions
    assert [message["content"] for message in rest] == [
        "Question 2?", "Answer 2.", "Question 3?", "Answer 3.", "Question 4?"
    ]  # fmt: skip
    uses = [
        [turn.answer.meta.get(key) for key in ("history_messages", "history_left_out", "history_summarized")]
        for turn in turns
    ]
    assert uses == [[0, None, None], [2, None, None], [4, None, None], [4, 2, 2]]
    assert summary_statuses(sql) == ["ok"]


async def test_later_summary_is_appended_to_the_existing_one(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    await open_session().ask_questions(*range(1, 6))
    summary, upto, _ = stored_summary(sql)
    assert upto == 8
    assert summary is not None
    assert [line.count("Question") for line in summary.split("\n")] == [2, 2]
    assert "Question 1?" not in str(model.summary_requests[1].messages)


async def test_summary_delays_no_answer_and_one_process_generates_it(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    model.gate.clear()
    first_process, second_process = open_session(), open_session()
    for number in range(1, 7):
        session = first_process if number % 2 else second_process
        turn = await asyncio.wait_for(session.ask(f"Question {number}?"), LONGEST_WAIT)
        assert turn.answer.status == "complete"
        if number == 3:  # the first turn after which there is something to summarize
            await model.summary_requested.wait()
    await second_process.wait_for_summaries()
    assert turn.answer.meta["history_summarized"] == 0
    assert len(model.summary_requests) == 1
    assert stored_summary(sql)[2]
    model.gate.set()
    await first_process.wait_for_summaries()
    assert stored_summary(sql)[1] == 4
    await first_process.ask_questions(7)
    assert stored_summary(sql)[1] == 12  # includes the messages since the first summary
    assert len(model.summary_requests) == 3


async def test_every_prompt_fits_a_small_context_window(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    policy = replace(POLICY, history_messages=100, context_windows={"primary": 800}, sampling=Sampling(max_tokens=100))
    session = open_session(policy)
    budget = prompt_budget(policy, "primary")
    assert budget is not None
    for number in range(30):
        await session.ask(f"Question {number}? " + "And so on. " * (number % 7))
        await session.wait_for_summaries()
    for request in [*model.answer_requests, *model.summary_requests]:
        assert prompt_tokens(request.messages) <= budget
    assert all(request.parameters.temperature == 0 for request in model.summary_requests)
    # Every message is either sent or summarized.
    last = await session.ask("And now?")
    assert last.answer.meta["history_left_out"] == last.answer.meta["history_summarized"]


async def test_too_long_summary_keeps_its_first_and_last_lines(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    model.summarize = lambda _: "\n".join(f"- long {n}" for n in range(900))
    await open_session().ask_questions(1, 2, 3)
    lines = str(stored_summary(sql)[0]).split("\n")
    assert (lines[0], lines[-1]) == ("- long 0", "- long 899")
    assert 100 < len(lines) < 600


async def test_disabled_summaries_are_neither_generated_nor_sent(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql
) -> None:
    session = open_session(summaries_enabled=False)
    await session.ask_questions(1)
    sql.do(
        "INSERT INTO chat_summaries (message_id, session_id, depth, content)"
        " SELECT id, session_id, depth, 'canary' FROM chat_messages WHERE depth = 2"
    )
    turns = await session.ask_questions(2, 3, 4, 5)
    assert model.summary_requests == []
    assert "canary" not in str(model.answer_requests)
    assert turns[-1].answer.meta["history_left_out"] == 4
    assert turns[-1].answer.meta["history_summarized"] == 0


async def test_summaries_and_messages_are_not_logged(
    open_session: Callable[..., Session], model: SummarizingModel, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def fail(_messages: str) -> str:
        raise ZeroDivisionError

    await open_session().ask_questions(1, 2, 3)
    model.summarize = fail
    await open_session().ask_questions(4, 5)
    assert "summary failed" in caplog.text
    assert "Question" not in caplog.text
    assert "digest" not in caplog.text
