"""Conversation summaries of sessions that exceed the history window."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import pytest

from app.chat.accounting.background_model import BackgroundModel
from app.chat.summaries.summarizer import SUMMARY_TOKENS_PER_STEP, Summarizer
from app.chat.turns.runner import TurnRunner
from app.chat.turns.store import TurnStore
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database
from app.database.repositories.chat.turns import Turn
from app.database.repositories.usage import ledger as ledger_rows
from app.database.repositories.usage.quotas import Quota
from app.graph.builder import build_chat_graph
from app.graph.context_window import prompt_budget, prompt_tokens
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import Completion, ModelError, ModelRequest, PublishText, Sampling, StreamTimeouts
from app.graph.prompts import summary_prompt
from app.services.limits.quotas import QuotaService, TurnBudget
from tests.chat.turns.asking import answer, question
from tests.fixtures.database import Sql
from tests.support.fakes import INSTRUCTIONS, completion, price, turn_recovery
from tests.support.waiting import LONGEST_WAIT

POLICY = ModelPolicy(
    models=("primary",), retries_per_model=0, attempt_timeout=30, history_messages=4, instructions=INSTRUCTIONS
)
NOTE_TAKER = summary_prompt([])[0]


class NotingModel:
    """A `ChatModel` that answers questions, and generates summaries with `take_notes`."""

    def __init__(self) -> None:
        self.answered: list[ModelRequest] = []
        self.noted: list[ModelRequest] = []
        self.take_notes: Callable[[str], str] = lambda said: f"- noted: {said.replace(chr(10), ' / ')}"
        self.gate = asyncio.Event()
        self.gate.set()
        """While it is closed, summaries do not complete."""
        self.was_asked_for_notes = asyncio.Event()

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        if request.messages[0] != NOTE_TAKER:
            self.answered.append(request)
            return completion(f"Answer {len(self.answered)}.")
        self.noted.append(request)
        self.was_asked_for_notes.set()
        await self.gate.wait()
        return completion(self.take_notes(request.messages[-1]["content"]))

    async def stream(self, request: ModelRequest, publish: PublishText, *, timeouts: StreamTimeouts) -> Completion:
        raise NotImplementedError


class Session:
    """One session at one process."""

    def __init__(
        self,
        database: Database,
        model: NotingModel,
        user_id: int,
        session: UUID,
        policy: ModelPolicy,
        *,
        remembers: bool = True,
    ) -> None:
        quotas = QuotaService(database, Quota())
        summary_model = BackgroundModel(model, database, policy, price, quotas, "summary", SUMMARY_TOKENS_PER_STEP)
        self.summarizer = Summarizer(summary_model, database, policy, batch=4)
        self.runner = TurnRunner(
            graph=build_chat_graph(),
            model=model,
            database=database,
            policy=policy,
            store=TurnStore(database, turn_recovery(database), quotas),
            price=price,
            turn_timeout=60,
            summarizer=self.summarizer if remembers else None,
        )
        self.budget: TurnBudget | None = None
        """Reservation for each answer."""
        self._user_id, self._session = user_id, session

    async def ask(self, message: str, context: dict[str, Any] | None = None) -> Turn:
        return await answer(self.runner, question(self._user_id, self._session, message, context, budget=self.budget))

    async def talk(self, *numbers: int) -> list[Turn]:
        """Ask one question after the other, and wait for the summary after each."""
        turns = []
        for number in numbers:
            turns.append(await self.ask(f"Question {number}?"))
            await self.settle()
        return turns

    async def held_at_its_notes(self, model: NotingModel) -> Self:
        """Ask questions until the model generates a summary, which completes when its gate is opened."""
        model.gate.clear()
        for number in (1, 2, 3):
            await self.ask(f"Question {number}?")
        await model.was_asked_for_notes.wait()
        return self

    async def settle(self) -> None:
        while self.summarizer._tasks:
            await asyncio.wait(self.summarizer._tasks.values())


@pytest.fixture
def model() -> NotingModel:
    return NotingModel()


@pytest.fixture
def begin(pool: Database, user_id: int, session: UUID, model: NotingModel) -> Callable[..., Session]:
    """Function that opens the session at a new process."""

    def begin(policy: ModelPolicy = POLICY, *, remembers: bool = True) -> Session:
        return Session(pool, model, user_id, session, policy, remembers=remembers)

    return begin


def stored(sql: Sql) -> tuple[str | None, int, bool]:
    (row,) = sql.rows(
        "SELECT summary, summary_upto_seq, summary_lease_expires_at IS NOT NULL AS is_busy FROM chat_sessions"
    )
    return row["summary"], row["summary_upto_seq"], row["is_busy"]


def ledger(sql: Sql) -> list[str]:
    """Return the status of each summary attempt."""
    rows = sql.rows(
        "SELECT llm_calls.status FROM llm_calls JOIN chat_sessions ON chat_sessions.id = llm_calls.session_id"
        " WHERE purpose = 'summary' ORDER BY llm_calls.id"
    )
    return [row["status"] for row in rows]


async def test_messages_that_leave_the_window_are_summarized_in_the_system_prompt(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    session = begin()
    turns = await session.talk(1, 2, 3, 4)
    assert stored(sql) == (
        "- noted: User: Question 1? / Assistant: Answer 1. / User: Question 2? / Assistant: Answer 2.",
        4,
        False,
    )
    system, *rest = model.answered[3].messages
    assert system["content"].startswith(INSTRUCTIONS({}))
    assert system["content"].endswith(stored(sql)[0] or "")
    assert "no instructions" in system["content"]
    assert [message["content"] for message in rest] == [
        "Question 2?", "Answer 2.", "Question 3?", "Answer 3.", "Question 4?"
    ]  # fmt: skip
    uses = [
        [turn.answer.meta.get(key) for key in ("history_messages", "history_left_out", "history_summarized")]
        for turn in turns
    ]
    assert uses == [[0, None, None], [2, None, None], [4, None, None], [4, 2, 2]]
    assert ledger(sql) == ["ok"]


async def test_later_summary_is_appended_to_the_existing_one(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    await begin().talk(*range(1, 6))
    summary, upto, _ = stored(sql)
    assert upto == 8
    assert summary is not None
    assert [line.count("Question") for line in summary.split("\n")] == [2, 2]
    assert "Question 1?" not in str(model.noted[1].messages)


async def test_summary_delays_no_answer_and_one_process_generates_it(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    model.gate.clear()
    here, elsewhere = begin(), begin()
    for number in range(1, 7):
        session = here if number % 2 else elsewhere
        turn = await asyncio.wait_for(session.ask(f"Question {number}?"), LONGEST_WAIT)
        assert turn.answer.status == "complete"
        if number == 3:  # the first turn after which there is something to summarize
            await model.was_asked_for_notes.wait()
    await elsewhere.settle()
    assert turn.answer.meta["history_summarized"] == 0
    assert len(model.noted) == 1
    assert stored(sql)[2]
    model.gate.set()
    await here.settle()
    assert stored(sql)[1] == 4
    await here.talk(7)
    assert stored(sql)[1] == 12  # includes the messages since the first summary
    assert len(model.noted) == 3


async def test_failed_summary_is_retried_after_the_next_turn(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    session = begin()
    take_notes = model.take_notes

    def fail(_said: str) -> str:
        raise ModelError("model_busy", retryable=True)

    model.take_notes = fail
    turns = await session.talk(1, 2, 3)
    assert turns[-1].answer.status == "complete"
    assert stored(sql) == (None, 0, False)
    model.take_notes = take_notes
    await session.talk(4)
    summary, upto, is_busy = stored(sql)
    assert (upto, is_busy) == (6, False)
    assert "Question 1?" in str(summary)
    assert ledger(sql) == ["error", "ok", "ok"]


async def test_fallback_model_generates_the_summary_if_the_first_model_fails(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    take_notes = model.take_notes

    def fail_once(_said: str) -> str:
        model.take_notes = take_notes
        raise ModelError("model_busy", retryable=True)

    model.take_notes = fail_once
    await begin(replace(POLICY, models=("primary", "fallback"))).talk(1, 2, 3)
    assert [request.model for request in model.noted] == ["primary", "fallback"]
    assert stored(sql)[1] == 4
    assert ledger(sql) == ["error", "ok"]


async def test_running_summary_reserves_quota(begin: Callable[..., Session], model: NotingModel, sql: Sql) -> None:
    sql.do("UPDATE users SET quota_tokens_per_day = 1000")
    session = begin()
    session.budget = TurnBudget(tokens=10, cost_usd=Decimal(0), prompt_price=Decimal(0))
    await session.held_at_its_notes(model)
    under_way = " FROM quota_reservations WHERE turn_id NOT IN (SELECT turn_id FROM llm_calls)"
    assert sql.value(f"SELECT sum(tokens) {under_way}") > (model.noted[0].parameters.max_tokens or 0)
    model.gate.set()
    await session.settle()
    assert ledger(sql) == ["ok"]
    assert sql.value(f"SELECT count(*) {under_way}") == 0


async def test_exhausted_quota_postpones_the_summary(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    session = begin()
    session.budget = TurnBudget(tokens=1, cost_usd=Decimal(0), prompt_price=Decimal(0))
    sql.do("UPDATE users SET quota_tokens_per_day = 45")  # used up by three answers
    await session.talk(1, 2, 3)
    assert (model.noted, stored(sql)) == ([], (None, 0, False))
    sql.do("UPDATE users SET quota_tokens_per_day = 0")
    await session.talk(4)
    assert stored(sql)[1] == 6


async def test_summary_is_recorded_in_the_ledger_after_a_database_outage(
    begin: Callable[..., Session], model: NotingModel, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, away = ledger_rows.record_calls, [True, True]

    async def record_later(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - passed on
        if away:
            away.pop()
            raise DatabaseUnavailableError
        await record(*arguments, **named)

    monkeypatch.setattr(ledger_rows, "record_calls", record_later)
    await begin().talk(1, 2, 3)
    assert (ledger(sql), stored(sql)[1]) == (["ok"], 4)


async def test_summary_cancelled_at_shutdown_is_generated_by_another_process(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    stopping = await begin().held_at_its_notes(model)
    await stopping.summarizer.drain(0.05)
    assert stored(sql) == (None, 0, False)
    assert ledger(sql) == ["cancelled"]
    model.gate.set()
    await begin().talk(4)
    assert stored(sql)[1] == 6


async def test_summary_finished_within_the_grace_period_is_stored(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    stopping = await begin().held_at_its_notes(model)
    draining = asyncio.create_task(stopping.summarizer.drain(5))
    await asyncio.sleep(0)
    model.gate.set()
    await draining
    assert stored(sql)[1] == 4


async def test_summary_of_a_deleted_session_is_discarded_and_recorded_in_the_ledger(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    session = await begin().held_at_its_notes(model)
    sql.do("DELETE FROM chat_sessions")
    model.gate.set()
    await session.settle()
    assert sql.value("SELECT count(*) FROM llm_calls") == 4


async def test_every_prompt_fits_a_small_context_window(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    policy = replace(POLICY, history_messages=100, context_windows={"primary": 800}, sampling=Sampling(max_tokens=100))
    session = begin(policy)
    room = prompt_budget(policy, "primary")
    assert room is not None
    for number in range(30):
        await session.ask(f"Question {number}? " + "And so on. " * (number % 7))
        await session.settle()
    for request in [*model.answered, *model.noted]:
        assert prompt_tokens(request.messages) <= room
    assert all(request.parameters.temperature == 0 for request in model.noted)
    # Every message is either sent or summarized.
    last = await session.ask("And now?")
    assert last.answer.meta["history_left_out"] == last.answer.meta["history_summarized"]


async def test_too_long_summary_keeps_its_first_and_last_lines(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    model.take_notes = lambda _: "\n".join(f"- long {n}" for n in range(900))
    await begin().talk(1, 2, 3)
    lines = str(stored(sql)[0]).split("\n")
    assert (lines[0], lines[-1]) == ("- long 0", "- long 899")
    assert 100 < len(lines) < 600


async def test_disabled_summaries_are_neither_generated_nor_sent(
    begin: Callable[..., Session], model: NotingModel, sql: Sql
) -> None:
    sql.do("UPDATE chat_sessions SET summary = 'canary'")
    turns = await begin(remembers=False).talk(1, 2, 3, 4, 5)
    assert model.noted == []
    assert "canary" not in str(model.answered)
    assert turns[-1].answer.meta["history_left_out"] == 4
    assert turns[-1].answer.meta["history_summarized"] == 0


async def test_summaries_and_messages_are_not_logged(
    begin: Callable[..., Session], model: NotingModel, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def fail(said: str) -> str:
        raise ZeroDivisionError

    await begin().talk(1, 2, 3)
    model.take_notes = fail
    await begin().talk(4, 5)
    assert "summary failed" in caplog.text
    assert "Question" not in caplog.text
    assert "noted" not in caplog.text
