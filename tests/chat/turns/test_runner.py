"""Turn runner: turns after cancelled requests, at shutdown and during database errors."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.chat.turns.presenters import direct_response
from app.chat.turns.runner import TurnRunner
from app.chat.turns.store import TurnStore
from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError, NotFoundError, ServiceUnavailableError
from app.database.connection import Database
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.turns import turn_queries, turn_start
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest
from app.database.repositories.turns.turns import NewTurn, StartedTurn
from app.database.repositories.usage.quotas import Quota
from app.database.statements import DriverConnection
from app.graph.builder import build_chat_graph
from app.graph.model_policy import ModelPolicy
from app.services.limits.quotas import QuotaService
from tests.chat.turns.runner_calls import make_direct_question, make_question, run_direct_turn, run_turn
from tests.fixtures.database import Sql
from tests.support.fakes import INSTRUCTIONS, PRICES, FakeModel, completion, turn_recovery
from tests.support.waiting import LONGEST_WAIT, eventually


def make_runner(database: Database, model: FakeModel) -> TurnRunner:
    policy = ModelPolicy(
        models=("primary",), retries_per_model=0, attempt_timeout=30, history_messages=10, instructions=INSTRUCTIONS
    )
    return TurnRunner(
        graph=build_chat_graph(),
        model=model,
        database=database,
        policy=policy,
        store=TurnStore(database, turn_recovery(database), QuotaService(database, Quota())),
        prices=PRICES,
        turn_timeout=60,
    )


def answer_stored(sql: Sql) -> dict[str, Any]:
    (row,) = sql.rows("SELECT status, content, lease_expires_at FROM chat_messages WHERE role = 'assistant'")
    return row


async def test_answer_of_a_cancelled_request_is_stored(pool: Database, sql: Sql, user_id: int, session: UUID) -> None:
    model = FakeModel(completion("Hello."), gate=asyncio.Event())
    turns = make_runner(pool, model)
    request = asyncio.create_task(run_turn(turns, make_question(user_id, session)))
    await model.was_called.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    model.gate.set()
    await turns.drain(5)
    assert answer_stored(sql) == {"status": "complete", "content": "Hello.", "lease_expires_at": None}
    assert sql.value("SELECT status FROM llm_calls") == "ok"


async def test_turn_that_exceeds_the_grace_period_is_stored_as_interrupted(
    pool: Database, sql: Sql, user_id: int, session: UUID
) -> None:
    model = FakeModel(None)
    turns = make_runner(pool, model)
    request = asyncio.create_task(run_turn(turns, make_question(user_id, session)))
    await model.was_called.wait()
    await turns.drain(0.05)
    assert (await asyncio.wait_for(request, LONGEST_WAIT)).answer.status == "interrupted"
    assert answer_stored(sql) == {"status": "interrupted", "content": "", "lease_expires_at": None}
    assert sql.value("SELECT status FROM llm_calls") == "cancelled"


async def test_direct_question_that_exceeds_the_grace_period_returns_interrupted(
    pool: Database, sql: Sql, user_id: int
) -> None:
    model = FakeModel(None)
    turns = make_runner(pool, model)
    request = asyncio.create_task(run_direct_turn(turns, make_direct_question(user_id)))
    await model.was_called.wait()
    await turns.drain(0.05)
    turn = await asyncio.wait_for(request, LONGEST_WAIT)
    assert direct_response(turn).status == "interrupted"
    assert sql.value("SELECT status FROM llm_calls") == "cancelled"


async def test_stopping_process_refuses_questions(pool: Database, sql: Sql, user_id: int, session: UUID) -> None:
    turns = make_runner(pool, FakeModel())
    await turns.drain(0)
    with pytest.raises(ServiceUnavailableError) as refusal:
        await run_turn(turns, make_question(user_id, session))
    assert refusal.value.code == "shutting_down"
    with pytest.raises(ServiceUnavailableError):
        await run_direct_turn(turns, make_direct_question(user_id))
    assert sql.value("SELECT count(*) FROM chat_messages") == 0


async def test_unexpected_error_in_the_graph_fails_only_its_own_turn(
    pool: Database, sql: Sql, user_id: int, session: UUID
) -> None:
    turns = make_runner(pool, FakeModel(ZeroDivisionError("canary"), completion()))
    turn = await run_turn(turns, make_question(user_id, session))
    assert turn.answer.status == "failed"
    assert turn.answer.meta["error"] == "internal_error"
    assert turn.answer.meta["fallback"] is True
    assert "canary" not in str(turn.answer)
    assert answer_stored(sql)["status"] == "failed"
    turn = await run_turn(turns, make_question(user_id, session, "Hi again"))
    assert turn.answer.status == "complete"


async def test_turn_being_stored_when_the_grace_period_ends_is_stored(
    settings: Settings, sql: Sql, user_id: int, session: UUID
) -> None:
    single = settings.model_copy(update={"DATABASE_POOL_SIZE": 1, "DATABASE_MAX_OVERFLOW": 0})
    database = Database.from_settings(single, application_name="test")
    model = FakeModel(completion("Hello."), gate=asyncio.Event())
    turns = make_runner(database, model)
    request = asyncio.create_task(run_turn(turns, make_question(user_id, session)))
    await model.was_called.wait()
    async with database.autocommit():  # occupies the only connection
        model.gate.set()
        draining = asyncio.create_task(turns.drain(0.1))
        await asyncio.sleep(0.3)
    await draining
    assert (await request).answer.status == "complete"
    assert answer_stored(sql)["status"] == "complete"
    await database.close()


async def test_question_that_times_out_before_it_is_stored_does_not_block_its_session(
    settings: Settings, pool: Database, sql: Sql, user_id: int, session: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The lock timeout of these connections is half a second.
    monkeypatch.setattr("app.database.connection.REQUEST_TIMEOUT", 0.8)
    short_timeout_database = Database.from_settings(settings, application_name="test")
    turns = make_runner(short_timeout_database, FakeModel(completion()))
    async with pool.transaction() as transaction:
        await transaction.execute(text("SELECT id FROM chat_sessions FOR UPDATE"))
        with pytest.raises(DatabaseUnavailableError):
            await run_turn(turns, make_question(user_id, session))
    turn = await run_turn(turns, make_question(user_id, session, "Hi again"))
    assert turn.answer.status == "complete"
    await turns.drain(5)
    await short_timeout_database.close()
    assert sql.value("SELECT count(*) FROM chat_messages WHERE status = 'pending'") == 0


async def test_lease_of_a_running_turn_is_renewed(
    pool: Database, sql: Sql, user_id: int, session: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A lease is due for renewal 0.1 s after it was taken.
    monkeypatch.setattr("app.chat.turns.runner.LEASE", timedelta(seconds=30))
    monkeypatch.setattr("app.chat.turns.runner._RENEW_THRESHOLD", timedelta(seconds=29.9))
    monkeypatch.setattr("app.chat.turns.runner._WATCH_INTERVAL", 0.05)
    model = FakeModel(completion("Hello."), gate=asyncio.Event())
    turns = make_runner(pool, model)
    watching = asyncio.create_task(turns.watch())
    request = asyncio.create_task(run_turn(turns, make_question(user_id, session)))
    await model.was_called.wait()
    expires_at = "SELECT lease_expires_at FROM chat_messages WHERE role = 'assistant'"
    leases = [sql.value(expires_at)]
    for _ in range(3):
        await eventually(lambda: sql.value(expires_at) > leases[-1])
        leases.append(sql.value(expires_at))
    model.gate.set()
    assert (await request).answer.status == "complete"
    watching.cancel()


async def test_cancelled_run_stores_the_published_text(pool: Database, sql: Sql, user_id: int, session: UUID) -> None:
    model = FakeModel(None)
    model.published_first = ["Once ", "upon"]
    turns = make_runner(pool, model)
    running = await turns.launch(make_question(user_id, session), stream=True)
    await model.was_called.wait()
    turns.cancel(running.id)
    turn = await running.result
    assert (turn.answer.status, turn.answer.content) == ("cancelled", "Once upon")
    assert answer_stored(sql) == {"status": "cancelled", "content": "Once upon", "lease_expires_at": None}
    assert turns.running_turns == {}


@pytest.mark.parametrize("first_search", ["finds it", "fails", "is too early"])
async def test_unconfirmed_question_is_answered_and_its_key_stays_bound_to_it(
    pool: Database, user_id: int, session: UUID, sql: Sql, monkeypatch: pytest.MonkeyPatch, first_search: str
) -> None:
    start, find, searches = turn_start.start_turn, turn_queries.find_started, 0

    async def start_unconfirmed(connection: DriverConnection, new: NewTurn) -> StartedTurn | None:
        await start(connection, new)
        raise DatabaseUnavailableError

    async def search(connection: DriverConnection, new: NewTurn) -> StartedTurn | None:
        nonlocal searches
        searches += 1
        if searches == 1 and first_search == "fails":
            raise DatabaseUnavailableError
        return None if searches == 1 and first_search == "is too early" else await find(connection, new)

    monkeypatch.setattr(turn_queries, "find_started", search)
    turns = make_runner(pool, FakeModel(completion("Hello.")))
    question = make_question(user_id, session, key=IdempotentRequest(user_id, "route", "key", b"f" * 32))
    with monkeypatch.context() as patched:
        patched.setattr(turn_start, "start_turn", start_unconfirmed)
        with pytest.raises(DatabaseUnavailableError):
            await run_turn(turns, question)
    await eventually(lambda: answer_stored(sql)["status"] != "pending")
    assert answer_stored(sql) == {"status": "complete", "content": "Hello.", "lease_expires_at": None}
    other_process = make_runner(pool, FakeModel(completion("Hello.")))
    with pytest.raises(IdempotencyKeyTakenError) as taken:
        await run_turn(other_process, question)
    assert taken.value.stored is not None
    assert taken.value.stored.message_status == "complete"
    assert (await run_turn(other_process, make_question(user_id, session, "And now?"))).answer.status == "complete"


async def test_unconfirmed_question_is_answered_during_a_shutdown(
    pool: Database, user_id: int, session: UUID, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = turn_start.start_turn

    async def start_unconfirmed(connection: DriverConnection, new: NewTurn) -> StartedTurn | None:
        await start(connection, new)
        raise DatabaseUnavailableError

    monkeypatch.setattr(turn_start, "start_turn", start_unconfirmed)
    turns = make_runner(pool, FakeModel(completion("Hello.")))
    with pytest.raises(DatabaseUnavailableError):
        await run_turn(turns, make_question(user_id, session))
    await turns.drain(5)
    assert answer_stored(sql)["status"] == "complete"


async def test_unconfirmed_question_is_answered_as_a_confirmed_one(
    pool: Database, user_id: int, session: UUID, sql: Sql
) -> None:
    """The turn that is found has the same values as the one that PostgreSQL confirms."""
    sql.do("UPDATE chat_sessions SET model = 'other', metadata = '{\"tone\": \"casual\"}'")
    await run_turn(make_runner(pool, FakeModel(completion())), make_question(user_id, session))
    new = NewTurn(
        user_id=user_id,
        session_uuid=session,
        content="Hi",
        meta={},
        question_uuid=uuid4(),
        answer_uuid=uuid4(),
        lease=timedelta(seconds=30),
        session_models=["other"],
    )
    async with pool.driver_connection() as connection:
        started = await turn_start.start_turn(connection, new)
        assert started is not None
        assert await turn_queries.find_started(connection, new) == started
        assert await turn_queries.find_started(connection, replace(new, user_id=user_id + 1)) is None
        assert await turn_queries.find_started(connection, replace(new, answer_uuid=uuid4())) is None
        sql.do("UPDATE chat_messages SET status = 'interrupted', lease_expires_at = NULL WHERE status = 'pending'")
        assert await turn_queries.find_started(connection, new) is None
    assert started.model == "other"


async def test_new_session_is_not_stored_without_its_first_question(
    pool: Database, sql: Sql, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start_no_turn(*_: object) -> None:
        """Start no turn, as when the key is taken and the session of its first request was just deleted."""

    monkeypatch.setattr(turn_start, "start_turn", start_no_turn)
    question = replace(make_question(user_id, uuid4()), session=NewSession(title="New", meta={}))
    with pytest.raises(NotFoundError):
        await run_turn(make_runner(pool, FakeModel()), question)
    assert sql.value("SELECT count(*) FROM chat_sessions") == 0


async def test_question_has_a_lower_id_than_its_answer(pool: Database, sql: Sql, user_id: int, session: UUID) -> None:
    await run_turn(make_runner(pool, FakeModel(completion("Hello."))), make_question(user_id, session))
    roles = sql.rows("SELECT role FROM chat_messages ORDER BY uuid")
    assert [row["role"] for row in roles] == ["user", "assistant"]
