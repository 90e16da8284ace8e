"""Turn runner: direct questions that cannot be stored, questions accepted before a shutdown, loops after outages."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.chat.streaming.answer_text import Ending
from app.chat.streaming.publisher import AnswerStream
from app.chat.turns.question import Question
from app.chat.turns.runner import TurnRunner
from app.chat.turns.store import TurnStore
from app.core.exceptions import ConflictError, DatabaseUnavailableError, NotFoundError
from app.database.connection import Database
from app.database.repositories.turns import active_turns, idempotency_keys, turn_start
from app.database.repositories.turns.idempotency_keys import IdempotentRequest
from app.database.repositories.usage import ledger
from app.database.retry_until_available import STORE_TIMEOUT
from app.graph.ports.chat_model import ModelError
from tests.chat.turns.runner_calls import make_direct_question, make_question
from tests.chat.turns.test_runner import make_runner
from tests.fixtures.database import Sql
from tests.support.fakes import FakeModel, completion
from tests.support.waiting import LONGEST_WAIT, eventually


@pytest.fixture(params=["in a session", "direct"])
def question(request: pytest.FixtureRequest, user_id: int, session: UUID) -> Question:
    """A question with an idempotency key."""
    key = IdempotentRequest(user_id, "route", "key", b"f" * 32)
    if request.param == "direct":
        return replace(make_direct_question(user_id), key=key)
    return make_question(user_id, session, key=key)


def assert_nothing_is_left(runner: TurnRunner, pool: Database) -> None:
    assert (runner._tasks, runner._streams, runner.running_turns, runner.running_count) == (set(), set(), {}, 0)
    assert pool.pool_stats()["in_use"] == 0


@pytest.fixture
def slow_start(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Storing of questions waits for this event."""
    gate = asyncio.Event()
    for module, name in ((turn_start, "start_turn"), (idempotency_keys, "claim_for_direct_question")):
        original = getattr(module, name)

        async def wait(*arguments: Any, _original: Any = original, **named: Any) -> Any:  # noqa: ANN401 - passed on
            await gate.wait()
            return await _original(*arguments, **named)

        monkeypatch.setattr(module, name, wait)
    return gate


async def test_question_accepted_before_the_shutdown_is_answered(
    pool: Database, sql: Sql, question: Question, slow_start: asyncio.Event
) -> None:
    model = FakeModel(completion("Hello."), gate=asyncio.Event())
    runner = make_runner(pool, model)
    launching = asyncio.create_task(runner.launch(question, stream=False))
    await asyncio.sleep(0)
    draining = asyncio.create_task(runner.drain(LONGEST_WAIT))
    await asyncio.sleep(0)
    slow_start.set()
    await model.was_called.wait()
    # The task that stored the question has ended, the one that answers it has not.
    await asyncio.sleep(0.2)
    assert not draining.done()
    model.gate.set()
    await asyncio.wait_for(draining, LONGEST_WAIT)
    running = await launching
    assert (await running.result).answer.status == "complete"
    assert sql.value("SELECT status FROM llm_calls") == "ok"
    assert_nothing_is_left(runner, pool)


async def test_answer_that_begins_after_the_grace_period_is_interrupted_and_stored(
    pool: Database, sql: Sql, question: Question, slow_start: asyncio.Event
) -> None:
    runner = make_runner(pool, FakeModel(None))
    launching = asyncio.create_task(runner.launch(question, stream=False))
    await asyncio.sleep(0)
    draining = asyncio.create_task(runner.drain(0.01))
    await asyncio.sleep(0.3)
    slow_start.set()
    await asyncio.wait_for(draining, LONGEST_WAIT)
    running = await launching
    assert running.result.done()
    assert (await running.result).answer.status == "interrupted"
    assert_nothing_is_left(runner, pool)


async def test_terminal_event_follows_ledger_and_key(
    pool: Database, sql: Sql, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[dict[str, Any]] = []
    end = AnswerStream.end

    def observe(stream: AnswerStream, ending: Ending, *, is_deleted: bool = False) -> None:
        stored.extend(sql.rows("SELECT status, response IS NOT NULL AS has_response FROM llm_calls, idempotency_keys"))
        end(stream, ending, is_deleted=is_deleted)

    monkeypatch.setattr(AnswerStream, "end", observe)
    question = replace(make_direct_question(user_id), key=IdempotentRequest(user_id, "route", "key", b"f" * 32))
    running = await make_runner(pool, FakeModel(completion("Hello."))).launch(question, stream=True)
    await running.result
    assert stored == [{"status": "ok", "has_response": True}]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DatabaseUnavailableError(), "database_unavailable"),
        (ConflictError(code="turn_interrupted"), "turn_interrupted"),
        (NotFoundError(), "not_found"),
        (ZeroDivisionError(), "internal_error"),
    ],
)
async def test_followers_of_an_answer_that_is_not_stored_get_an_ending(
    pool: Database, question: Question, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(TurnStore, "complete", fail)
    runner = make_runner(pool, FakeModel(completion("Hello.")))
    running = await runner.launch(question, stream=True)
    with pytest.raises(type(error)):
        await running.result
    ending = running.stream.final_ending
    assert ending is not None
    assert (ending.code, ending.message.status) == (code, "failed")
    assert running.stream.is_deleted is isinstance(error, NotFoundError)
    await asyncio.sleep(0)
    assert_nothing_is_left(runner, pool)


@pytest.mark.parametrize(("stream", "reasoning_timeout"), [(False, 600), (True, 600), (True, 1)])
async def test_key_of_a_direct_question_is_leased_for_the_longest_answer(
    pool: Database, sql: Sql, user_id: int, *, stream: bool, reasoning_timeout: float
) -> None:
    runner = make_runner(pool, FakeModel(completion("Hello."), gate=(gate := asyncio.Event())))
    runner.policy = replace(runner.policy, reasoning_timeout=reasoning_timeout)
    question = replace(make_direct_question(user_id), key=IdempotentRequest(user_id, "route", "key", b"f" * 32))
    running = await runner.launch(question, stream=stream)
    lease = sql.value("SELECT extract(epoch FROM lease_expires_at - now()) FROM idempotency_keys")
    policy = runner.policy
    longest = runner.turn_timeout + STORE_TIMEOUT
    if stream:
        # The first text comes within the timeout of an attempt, even if reasoning has less time.
        longest += max(policy.reasoning_timeout, runner.turn_timeout) + policy.stream_timeout
    assert longest < lease <= longest + 10
    gate.set()
    await running.result


@pytest.mark.parametrize(("retry_after", "cancelled_in_call", "least_ms"), [(0.3, 2, 300), (30, 1, 300)])
async def test_processing_time_of_a_cancelled_answer_includes_waits(
    pool: Database, question: Question, retry_after: float, cancelled_in_call: int, least_ms: int
) -> None:
    model = FakeModel(ModelError("provider_unavailable", retryable=True, retry_after=retry_after), None)
    runner = make_runner(pool, model)
    runner.policy = replace(runner.policy, retries_per_model=1)
    started = time.perf_counter()
    running = await runner.launch(question, stream=True)
    await eventually(lambda: len(model.calls) == cancelled_in_call)
    if cancelled_in_call == 1:
        await asyncio.sleep(0.35)  # it waits for the retry
    running.stream.cancel()
    answer = (await running.result).answer
    assert (answer.status, answer.meta["attempts"]) == ("cancelled", cancelled_in_call)
    assert least_ms <= answer.processing_time_ms <= (time.perf_counter() - started) * 1000
    assert answer.processing_time_ms == answer.meta["processing_time_ms"]


@pytest.mark.parametrize("is_renewed", [True, False])
async def test_lease_has_its_length(
    pool: Database, sql: Sql, user_id: int, session: UUID, monkeypatch: pytest.MonkeyPatch, *, is_renewed: bool
) -> None:
    monkeypatch.setattr("app.chat.turns.runner._WATCH_INTERVAL", 0.02)
    runner = make_runner(pool, FakeModel(completion("Hello."), gate=(gate := asyncio.Event())))
    running = await runner.launch(make_question(user_id, session), stream=False)
    left = "SELECT extract(epoch FROM lease_expires_at - now()) FROM chat_messages WHERE role = 'assistant'"
    if is_renewed:
        sql.do("UPDATE chat_messages SET lease_expires_at = now() + interval '19 s' WHERE role = 'assistant'")
        watching = asyncio.create_task(runner.watch())
        await eventually(lambda: sql.value(left) > 20)
        watching.cancel()
    assert 25 < sql.value(left) <= 30
    gate.set()
    await running.result


@pytest.mark.parametrize("error", [DatabaseUnavailableError(), ZeroDivisionError(), TimeoutError()])
async def test_leases_are_renewed_after_an_outage(
    pool: Database, sql: Sql, user_id: int, session: UUID, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("app.chat.turns.runner._WATCH_INTERVAL", 0.01)
    monkeypatch.setattr("app.chat.turns.runner._RENEW_THRESHOLD", timedelta(seconds=30))
    renew = active_turns.renew_leases
    failures = 0

    async def fail_first(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - passed on
        nonlocal failures
        if failures < 5:
            failures += 1
            raise error
        return await renew(*arguments, **named)

    monkeypatch.setattr(active_turns, "renew_leases", fail_first)
    runner = make_runner(pool, FakeModel(completion("Hello."), gate=(gate := asyncio.Event())))
    running = await runner.launch(make_question(user_id, session), stream=False)
    sql.do("UPDATE chat_messages SET lease_expires_at = now() + interval '5 s' WHERE role = 'assistant'")
    watching = asyncio.create_task(runner.watch())
    left = "SELECT extract(epoch FROM lease_expires_at - now()) FROM chat_messages WHERE role = 'assistant'"
    await eventually(lambda: failures == 5 and sql.value(left) > 20)
    assert not watching.done()
    watching.cancel()
    gate.set()
    await running.result
    assert_nothing_is_left(runner, pool)


async def test_ledger_of_a_direct_question_is_stored_after_an_outage(
    pool: Database, sql: Sql, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ledger.record_calls
    attempts = 0

    async def fail_first(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - passed on
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            await record(*arguments, **named)  # committed, but the confirmation is lost
        if attempts <= 2:
            raise DatabaseUnavailableError
        await record(*arguments, **named)

    monkeypatch.setattr(ledger, "record_calls", fail_first)
    question = replace(make_direct_question(user_id), key=IdempotentRequest(user_id, "route", "key", b"f" * 32))
    running = await make_runner(pool, FakeModel(completion("Hello."))).launch(question, stream=False)
    assert (await running.result).answer.content == "Hello."
    assert attempts == 3
    assert sql.value("SELECT count(*) FROM llm_calls") == 1
    assert sql.value("SELECT response IS NOT NULL FROM idempotency_keys") is True
