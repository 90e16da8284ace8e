"""Repeated requests after a killed process, a disconnected client or a response that was not stored."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from httpx2 import HTTPError

from app.chat.idempotency.serialized_response import SerializedResponse
from app.chat.idempotency.service import IdempotencyService
from app.chat.schemas.messages import MessageCreate
from app.chat.streaming.remote import RemoteStreams
from app.chat.streaming.resume import StreamingService
from app.chat.streaming.revocation import RevocationWatch
from app.chat.turns.question_builder import QuestionBuilder
from app.chat.turns.runner import TurnRunner
from app.chat.turns.service import TurnService
from app.chat.turns.store import TurnStore
from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.turns import idempotency_keys
from app.database.repositories.turns.idempotency_keys import IdempotentRequest, StoredResponse
from app.database.repositories.usage import ledger
from app.database.repositories.usage.quotas import Quota
from app.graph.builder import build_chat_graph
from app.graph.model_policy import ModelPolicy
from app.services.limits.concurrency import ConcurrencyLimiter
from app.services.limits.quotas import QuotaService
from app.services.llm.catalog import ModelCatalog
from app.services.redis.client import open_redis
from app.services.redis.reasoning_buffer import ReasoningBuffer
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from app.services.redis.stream_buffer import StreamBuffer
from tests.chat.idempotency.idempotent_requests import assert_replayed, post, request_for
from tests.fixtures.database import Sql
from tests.fixtures.processes import ChatProcess
from tests.fixtures.services import Chat, assert_problem
from tests.support.fakes import INSTRUCTIONS, PRICES, FakeModel, completion, turn_recovery
from tests.support.provider import Provider, held, stalls
from tests.support.waiting import closed_gate


def delete_stored_responses(sql: Sql) -> None:
    """Delete the stored responses of turns, as if the process had died between storing the turn and the response."""
    sql.do("UPDATE idempotency_keys SET status_code = NULL, response = NULL WHERE turn_id IS NOT NULL")


@pytest.mark.parametrize("route", ["/sessions with a question", "/sessions/{id}/messages"])
def test_response_rebuilt_from_the_stored_turn_has_identical_bytes(chat: Chat, sql: Sql, route: str) -> None:
    path, body = request_for(chat, route)
    first = post(chat, path, body)
    session = first.json().get("session_id") or path.split("/")[2]
    chat.ask(session, "The conversation goes on")
    delete_stored_responses(sql)
    assert_replayed(post(chat, path, body), first)
    assert sql.value("SELECT count(*) FROM idempotency_keys WHERE response IS NULL") == 0


def test_answer_is_returned_when_its_response_cannot_be_stored(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError

    path, body = request_for(chat, "/sessions/{id}/messages")
    with monkeypatch.context() as patch:
        patch.setattr(idempotency_keys, "store_response", fail)
        first = post(chat, path, body)
        assert_replayed(post(chat, path, body), first)
    assert_replayed(post(chat, path, body), first)


def test_direct_question_of_a_killed_process_can_be_repeated_after_its_lease_expires(
    chat: Chat, chat_process: ChatProcess, provider: Provider, sql: Sql
) -> None:
    body = {"message": "Hi"}
    provider.script(stalls())
    kill_during_model_call(chat, chat_process, provider, "/direct", body)
    assert_problem(post(chat, "/direct", body), 409, "idempotency_in_progress")
    sql.do("UPDATE idempotency_keys SET lease_expires_at = now()")
    assert_problem(post(chat, "/direct", {"message": "Another"}), 422, "idempotency_key_reused")
    first = post(chat, "/direct", body)
    assert first.json()["status"] == "complete"
    assert_replayed(post(chat, "/direct", body), first)
    assert len(provider.calls) == 2


@pytest.mark.parametrize("route", ["/sessions with a question", "/sessions/{id}/messages"])
def test_turn_of_a_killed_process_returns_interrupted_after_its_lease_expires(
    chat: Chat, chat_process: ChatProcess, provider: Provider, sql: Sql, route: str
) -> None:
    path, body = request_for(chat, route)
    provider.script(stalls())
    kill_during_model_call(chat, chat_process, provider, path, body)
    problem = assert_problem(post(chat, path, body), 409, "idempotency_in_progress")
    sql.do("UPDATE chat_messages SET lease_expires_at = now() WHERE status = 'pending'")
    first = post(chat, path, body)
    assert first.is_success
    assert first.json()["ai_response"]["status"] == "interrupted"
    assert first.json()["ai_response"]["id"] == problem["message_id"]
    assert post(chat, path, body).content == first.content
    assert len(provider.calls) == 1
    assert sql.value("SELECT count(*) FROM chat_messages") == 2
    session = first.json().get("session_id") or path.split("/")[2]
    assert chat.ask(session, "And now?")["ai_response"]["status"] == "complete"


@pytest.mark.parametrize("is_direct", [False, True], ids=["in a session", "direct"])
async def test_answer_of_a_disconnected_client_is_replayed_for_its_key(
    settings: Settings, pool: Database, user_id: int, session: UUID, *, is_direct: bool
) -> None:
    model = FakeModel(completion("Hello."), gate=asyncio.Event())
    policy = ModelPolicy(
        models=("primary",), retries_per_model=0, attempt_timeout=30, history_messages=10, instructions=INSTRUCTIONS
    )
    user = Principal(user_id, uuid4(), role="user", is_verified=True, session_uuid=uuid4())
    quotas = QuotaService(pool, Quota())
    request, key = MessageCreate(message="Hi"), IdempotentRequest(user_id, "route", "key", b"f" * 32)
    redis = open_redis(settings)
    breaker = RedisCircuitBreaker(redis, budget=1)

    def runner() -> TurnRunner:
        return TurnRunner(
            graph=build_chat_graph(),
            model=model,
            database=pool,
            policy=policy,
            store=TurnStore(pool, turn_recovery(pool), quotas),
            prices=PRICES,
            turn_timeout=60,
        )

    async def ask(runner: TurnRunner) -> object:
        questions = QuestionBuilder(ModelCatalog([], primary="primary", default_window=4096), policy, quotas)
        idempotency = IdempotencyService(pool, turn_recovery(pool))
        streaming = StreamingService(
            runner,
            idempotency,
            RemoteStreams(pool, StreamBuffer(breaker, redis, lifetime=1200), ReasoningBuffer(breaker, lifetime=1200)),
            RevocationWatch(pool),
        )
        question = (
            questions.direct(user, request, key) if is_direct else questions.in_session(user, session, request, key)
        )
        limiter = ConcurrencyLimiter(1, code="too_many_questions", detail="", retry_after=1)
        return await TurnService(runner, idempotency, streaming, limiter).ask(question, stream=False)

    first_process = runner()
    request_task = asyncio.create_task(ask(first_process))
    await model.was_called.wait()
    request_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request_task
    model.gate.set()
    await first_process.drain(5)
    first, again = [await ask(runner()) for _ in range(2)]
    assert isinstance(first, SerializedResponse)
    assert first == again
    assert b'"Hello."' in first.body
    assert len(model.calls) == 1


async def test_process_with_an_expired_lease_does_not_overwrite_the_stored_response(
    pool: Database, user_id: int, sql: Sql
) -> None:
    key = IdempotentRequest(user_id, "route", "key", b"f" * 32)
    slow, quick = uuid4(), uuid4()
    async with pool.autocommit() as connection:
        await idempotency_keys.claim_for_direct_question(connection, key, turn_id=slow, lease=timedelta(seconds=-1))
        await idempotency_keys.claim_for_direct_question(connection, key, turn_id=quick, lease=timedelta(seconds=9))
        for turn_id, body in ((quick, b"quick"), (slow, b"slow")):
            response = StoredResponse(key, 200, body)
            await ledger.record_calls(connection, turn_id=turn_id, user_id=user_id, calls=[], stored_response=response)
    assert bytes(sql.value("SELECT response FROM idempotency_keys")) == b"quick"


def test_answer_stored_by_a_killed_process_is_returned_to_a_repeated_request(
    chat: Chat, chat_process: ChatProcess, provider: Provider, sql: Sql, settings: Settings
) -> None:
    path, body = request_for(chat, "/sessions/{id}/messages")
    with psycopg2.connect(settings.DATABASE_URL) as blocker, ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate))
        future = pool.submit(post, Chat(chat_process.client, chat.user), path, body)  # type: ignore[arg-type] # same interface
        provider.wait_for_calls(1)
        blocker.cursor().execute("SELECT FROM idempotency_keys FOR UPDATE")  # prevents the response from being stored
        gate.set()
        stored = "SELECT count(*) FROM chat_messages WHERE status = 'complete' AND role = 'assistant'"
        provider.wait_until(lambda: sql.value(stored) == 1)
        chat_process.kill()
        blocker.rollback()
        assert isinstance(future.exception(), HTTPError)
    first = post(chat, path, body)
    assert first.json()["ai_response"]["content"] == "Hello."
    assert post(chat, path, body).content == first.content
    assert len(provider.calls) == 1


def kill_during_model_call(
    chat: Chat, service: ChatProcess, provider: Provider, path: str, body: dict[str, Any]
) -> None:
    """Send a request to another process and kill the process during the model call."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(post, Chat(service.client, chat.user), path, body)  # type: ignore[arg-type] # same interface
        provider.wait_for_calls(1)
        service.kill()
        assert isinstance(future.exception(), HTTPError)
