"""Idempotent requests: a request with an `Idempotency-Key` runs once and returns the same response each time."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from fastapi.testclient import TestClient
from httpx2 import HTTPError, Response
from redis import Redis
from sqlalchemy import delete

from app import main
from app.chat.idempotency.serialized_response import SerializedResponse
from app.chat.idempotency.service import IdempotencyService
from app.chat.schemas.messages import ChatRequest
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
from app.database.models import User
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.chat import idempotency_keys, turns
from app.database.repositories.chat.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest, StoredResponse
from app.database.repositories.chat.turns import ActiveTurnError, NewTurn
from app.database.repositories.usage import ledger
from app.database.repositories.usage.quotas import Quota
from app.graph.builder import build_chat_graph
from app.graph.model_policy import ModelPolicy
from app.services.limits.quotas import QuotaService
from app.services.llm.catalog import ModelCatalog
from app.services.redis.client import open_redis
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from app.services.redis.stream_buffer import StreamBuffer
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.processes import ChatProcess
from tests.fixtures.services import CHAT, Chat, assert_problem
from tests.support.fakes import INSTRUCTIONS, FakeModel, completion, price, turn_recovery
from tests.support.provider import Provider, answers, fails, held, stalls
from tests.support.waiting import closed_gate, wait_until

KEY = "5c3a1c2e-6d0c-4f0e-9b4e-0d9a3c6f7b21"
ROUTES = ["/direct", "/sessions", "/sessions with a question", "/sessions/{id}/messages"]


def post(chat: Chat, path: str, body: dict[str, Any], key: str = KEY) -> Response:
    return chat.request("POST", path, json=body, headers={"Idempotency-Key": key})


def request_to(chat: Chat, route: str) -> tuple[str, dict[str, Any]]:
    """Return path and body of a request that creates something."""
    match route:
        case "/direct":
            return "/direct", {"message": "Hi"}
        case "/sessions":
            return "/sessions", {"title": "Grüße", "context": {"tone": "casual"}}
        case "/sessions with a question":
            return "/sessions", {"title": "Grüße", "initial_message": "Hi", "context": {"number": 0.5}}
        case _:
            return f"/sessions/{chat.open()}/messages", {"message": "Grüße", "context": {"number": 0.5}}


def forget_response(sql: Sql) -> None:
    """Delete the stored responses of turns, as if the process had died between storing the turn and the response."""
    sql.do("UPDATE idempotency_keys SET status_code = NULL, response = NULL WHERE turn_id IS NOT NULL")


def assert_same(again: Response, first: Response) -> None:
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers


@pytest.mark.parametrize("route", ROUTES)
def test_repeated_request_runs_once_and_returns_identical_bytes(
    chat: Chat, provider: Provider, sql: Sql, route: str
) -> None:
    path, body = request_to(chat, route)
    first = post(chat, path, body)
    assert first.is_success
    made = sql.rows("SELECT (SELECT count(*) FROM chat_sessions), (SELECT count(*) FROM chat_messages)")
    calls = len(provider.calls)
    for _ in range(3):
        assert_same(post(chat, path, body), first)
    assert len(provider.calls) == calls
    assert sql.rows("SELECT (SELECT count(*) FROM chat_sessions), (SELECT count(*) FROM chat_messages)") == made


@pytest.mark.parametrize("route", ROUTES)
def test_response_with_a_key_has_the_same_shape_as_without(chat: Chat, route: str) -> None:
    path, body = request_to(chat, route)
    with_key = post(chat, path, body)
    without = chat.request("POST", path, json=body)
    assert with_key.status_code == without.status_code
    assert shape(with_key.json()) == shape(without.json())
    assert with_key.headers["Content-Type"] == without.headers["Content-Type"]


def shape(value: Any) -> Any:  # noqa: ANN401 - any JSON
    return {name: shape(item) for name, item in value.items()} if isinstance(value, dict) else type(value)


@pytest.mark.parametrize("route", ROUTES)
def test_stored_response_survives_a_restart_and_an_emptied_redis(
    chat: Chat, settings: Settings, redis: Redis, provider: Provider, route: str
) -> None:
    path, body = request_to(chat, route)
    first = post(chat, path, body)
    calls = len(provider.calls)
    redis.flushall()
    with TestClient(main.create(settings)) as restarted:
        assert_same(post(Chat(restarted, chat.user), path, body), first)
    assert len(provider.calls) == calls


@pytest.mark.parametrize("route", ROUTES)
def test_same_key_with_another_body_is_refused(chat: Chat, provider: Provider, route: str) -> None:
    path, body = request_to(chat, route)
    first = post(chat, path, body)
    calls = len(provider.calls)
    assert_problem(post(chat, path, body | {"context": {"other": True}}), 422, "idempotency_key_reused")
    assert len(provider.calls) == calls
    assert_same(post(chat, path, body), first)


def test_keys_are_separate_for_each_user_route_and_case(chat: Chat, others_chat: Chat, provider: Provider) -> None:
    body = {"message": "Hi"}
    paths = ["/direct", *(f"/sessions/{chat.open()}/messages" for _ in range(2))]
    responses = [post(chat, path, body) for path in paths]
    responses += [post(others_chat, "/direct", body), post(chat, "/direct", body, key=KEY.upper())]
    assert [response.status_code for response in responses] == [200] * 5
    assert len(provider.calls) == 5
    assert_problem(post(others_chat, paths[1], body), 404, "not_found")


def test_spelling_of_the_session_id_does_not_change_the_request(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    ways = [session, session.upper(), session.replace("-", ""), f"{{{session}}}", f"urn:uuid:{session}"]
    bodies = {post(chat, f"/sessions/{way}/messages", {"message": "Hi"}).content for way in ways}
    assert len(bodies) == len(provider.calls) == 1


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "/sessions"])
def test_one_of_20_concurrent_requests_with_the_same_key_runs(chat: Chat, provider: Provider, route: str) -> None:
    path, body = request_to(chat, route)
    with ThreadPoolExecutor(20) as pool, closed_gate() as gate:
        provider.always(held(gate))
        posted = [pool.submit(post, chat, path, body) for _ in range(20)]
        wait_until(lambda: sum(one.done() for one in posted) == 19)
        gate.set()
        responses = [one.result() for one in posted]
    answered = [response for response in responses if response.is_success]
    assert len({response.content for response in answered}) == 1
    assert len([response for response in answered if "Idempotent-Replayed" not in response.headers]) == 1
    for response in responses:
        if not response.is_success:
            problem = assert_problem(response, 409, "idempotency_in_progress")
            assert int(response.headers["Retry-After"]) > 0
            assert ("message_id" in problem) == (route != "/direct")
    assert len(provider.calls) == 1


def test_20_concurrent_requests_with_the_same_key_create_one_session(chat: Chat, sql: Sql) -> None:
    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(lambda _: post(chat, "/sessions", {"title": "t"}), range(20)))
    assert {response.status_code for response in responses} == {201}
    assert len({response.content for response in responses}) == 1
    assert sql.value("SELECT count(*) FROM chat_sessions") == 1


def test_request_in_progress_returns_409_with_the_message_id(chat: Chat, provider: Provider) -> None:
    path, body = request_to(chat, "/sessions/{id}/messages")
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate))
        asked = pool.submit(post, chat, path, body)
        provider.wait_for_calls(1)
        problem = assert_problem(post(chat, path, body), 409, "idempotency_in_progress")
        assert_problem(post(chat, path, {"message": "Another"}), 422, "idempotency_key_reused")
        gate.set()
        first = asked.result()
    assert first.json()["ai_response"]["id"] == problem["message_id"]
    assert_same(post(chat, path, body), first)


def test_refused_request_does_not_use_up_its_key(chat: Chat, provider: Provider, sql: Sql) -> None:
    session = chat.open()
    path, body = f"/sessions/{session}/messages", {"message": "Hi"}
    assert_problem(post(chat, path, {"message": ""}), 422, "validation_error")
    chat.request("PATCH", f"/sessions/{session}", json={"is_archived": True})
    assert_problem(post(chat, path, body), 409, "session_archived")
    chat.request("PATCH", f"/sessions/{session}", json={"is_archived": False})
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate))
        other = pool.submit(chat.ask, session, "Something else")
        provider.wait_for_calls(1)
        assert_problem(post(chat, path, body), 409, "turn_active")
        gate.set()
        other.result()
    first = post(chat, path, body)
    assert first.json()["ai_response"]["status"] == "complete"
    assert_same(post(chat, path, body), first)


def test_failed_answer_is_stored_and_replayed(chat: Chat, provider: Provider) -> None:
    path, body = request_to(chat, "/sessions/{id}/messages")
    provider.always(fails(401))
    first = post(chat, path, body)
    assert first.json()["ai_response"]["status"] == "failed"
    provider.always(answers("Hello."))
    assert_same(post(chat, path, body), first)


@pytest.mark.parametrize(
    "keys",
    [[b""], [b"x" * 256], [b"with space"], ["schlüssel".encode()], [b"\x7f"], [b"one", b"two"], [b"same", b"same"]],
)
@pytest.mark.parametrize("path", ["/direct", "/sessions"])
def test_key_must_be_1_to_255_visible_ascii_characters(
    chat: Chat, provider: Provider, path: str, keys: list[bytes]
) -> None:
    body = {"message": "Hi"} if path == "/direct" else {}
    headers = [(b"Authorization", chat.user.headers["Authorization"].encode())]
    response = chat.client.post(
        f"{CHAT}{path}", json=body, headers=[*headers, *((b"Idempotency-Key", key) for key in keys)]
    )
    problem = assert_problem(response, 422, "validation_error")
    assert problem["errors"][0]["field"] == "header.Idempotency-Key"
    assert provider.calls == []
    assert post(chat, path, body, key="~!" + "x" * 253).is_success


@pytest.mark.parametrize("route", ["/sessions with a question", "/sessions/{id}/messages"])
def test_response_rebuilt_from_the_stored_turn_has_identical_bytes(chat: Chat, sql: Sql, route: str) -> None:
    path, body = request_to(chat, route)
    first = post(chat, path, body)
    session = first.json().get("session_id") or path.split("/")[2]
    chat.ask(session, "The conversation goes on")
    forget_response(sql)
    assert_same(post(chat, path, body), first)
    assert sql.value("SELECT count(*) FROM idempotency_keys WHERE response IS NULL") == 0


def test_answer_is_returned_when_its_response_cannot_be_stored(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError

    path, body = request_to(chat, "/sessions/{id}/messages")
    with monkeypatch.context() as patch:
        patch.setattr(idempotency_keys, "store_response", fail)
        first = post(chat, path, body)
        assert_same(post(chat, path, body), first)
    assert_same(post(chat, path, body), first)


@pytest.mark.parametrize("route", ROUTES)
def test_key_expires_after_24_hours(chat: Chat, sql: Sql, route: str) -> None:
    path, body = request_to(chat, route)
    first = post(chat, path, body)
    kept = sql.value("SELECT extract(epoch FROM expires_at - created_at)::integer FROM idempotency_keys")
    assert kept == 24 * 3600
    sql.do("UPDATE idempotency_keys SET expires_at = now()")
    second = post(chat, path, body | {"context": {"other": True}})
    assert second.is_success
    assert second.content != first.content
    assert "Idempotent-Replayed" not in second.headers
    assert_problem(post(chat, path, body), 422, "idempotency_key_reused")


def test_deleting_a_session_deletes_its_stored_responses(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.always(answers("canary"))
    created = post(chat, "/sessions", {"initial_message": "canary"})
    session = created.json()["session_id"]
    post(chat, f"/sessions/{session}/messages", {"message": "canary"})
    assert sql.value("SELECT count(*) FROM idempotency_keys WHERE position('canary' in response) > 0") == 2
    chat.request("DELETE", f"/sessions/{session}")
    assert sql.value("SELECT count(*) FROM idempotency_keys") == 0
    assert_problem(post(chat, f"/sessions/{session}/messages", {"message": "canary"}), 404, "not_found")


def test_deleting_a_user_deletes_their_keys(chat: Chat, sql: Sql) -> None:
    post(chat, "/direct", {"message": "Hi"})
    post(chat, "/sessions", {})
    sql.do("DELETE FROM users")
    assert sql.value("SELECT count(*) FROM idempotency_keys") == 0


def is_about_keys(statement: str) -> bool:
    return "idempotency_keys" in statement


@pytest.mark.parametrize("route", ROUTES)
def test_key_adds_exactly_one_sql_statement(chat: Chat, route: str) -> None:
    path, body = request_to(chat, route)
    with counted_statements() as without:
        assert chat.request("POST", path, json=body).is_success
    with counted_statements() as with_key:
        assert post(chat, path, body).is_success
    assert not [statement for statement in without if is_about_keys(statement)]
    assert len(with_key) == len(without) + 1


def test_direct_question_of_a_killed_process_can_be_repeated_after_its_lease_expires(
    chat: Chat, chat_process: ChatProcess, provider: Provider, sql: Sql
) -> None:
    body = {"message": "Hi"}
    provider.script(stalls())
    ask_and_kill(chat, chat_process, provider, "/direct", body)
    assert_problem(post(chat, "/direct", body), 409, "idempotency_in_progress")
    sql.do("UPDATE idempotency_keys SET lease_expires_at = now()")
    assert_problem(post(chat, "/direct", {"message": "Another"}), 422, "idempotency_key_reused")
    first = post(chat, "/direct", body)
    assert first.json()["status"] == "complete"
    assert_same(post(chat, "/direct", body), first)
    assert len(provider.calls) == 2


@pytest.mark.parametrize("route", ["/sessions with a question", "/sessions/{id}/messages"])
def test_turn_of_a_killed_process_returns_interrupted_after_its_lease_expires(
    chat: Chat, chat_process: ChatProcess, provider: Provider, sql: Sql, route: str
) -> None:
    path, body = request_to(chat, route)
    provider.script(stalls())
    ask_and_kill(chat, chat_process, provider, path, body)
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
    request, key = ChatRequest(message="Hi"), IdempotentRequest(user_id, "route", "key", b"f" * 32)
    redis = open_redis(settings)
    breaker = RedisCircuitBreaker(redis, budget=1)

    def runner() -> TurnRunner:
        return TurnRunner(
            graph=build_chat_graph(),
            model=model,
            database=pool,
            policy=policy,
            store=TurnStore(pool, turn_recovery(pool), quotas),
            price=price,
            turn_timeout=60,
        )

    async def ask(runner: TurnRunner) -> object:
        questions = QuestionBuilder(ModelCatalog([], primary="primary", default_window=4096), policy, quotas)
        idempotency = IdempotencyService(pool, turn_recovery(pool))
        streaming = StreamingService(
            runner,
            idempotency,
            RemoteStreams(pool, StreamBuffer(breaker, redis)),
            RevocationWatch(pool),
        )
        asked = questions.direct(user, request, key) if is_direct else questions.in_session(user, session, request, key)
        return await TurnService(runner, idempotency, streaming).ask(asked, stream=False)

    first_process = runner()
    asking = asyncio.create_task(ask(first_process))
    await model.was_asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    model.gate.set()
    await first_process.drain(5)
    first, again = [await ask(runner()) for _ in range(2)]
    assert isinstance(first, SerializedResponse)
    assert first == again
    assert b'"Hello."' in first.body
    assert len(model.asked) == 1


async def test_process_with_an_expired_lease_does_not_overwrite_the_stored_response(
    pool: Database, user_id: int, sql: Sql
) -> None:
    key = IdempotentRequest(user_id, "route", "key", b"f" * 32)
    slow, quick = uuid4(), uuid4()
    async with pool.autocommit() as connection:
        await idempotency_keys.claim_for_direct_question(connection, key, turn_id=slow, lease=timedelta(seconds=-1))
        await idempotency_keys.claim_for_direct_question(connection, key, turn_id=quick, lease=timedelta(seconds=9))
        for turn_id, body in ((quick, b"quick"), (slow, b"slow")):
            kept = StoredResponse(key, 200, body)
            await ledger.record_calls(connection, turn_id=turn_id, user_id=user_id, calls=[], stored_response=kept)
    assert bytes(sql.value("SELECT response FROM idempotency_keys")) == b"quick"


async def test_concurrent_questions_and_account_deletions_do_not_deadlock(pool: Database, sql: Sql) -> None:
    async def ask(user: int, session: UUID, number: int) -> None:
        new = NewTurn(
            user_id=user,
            session_uuid=session,
            content="Hi",
            meta={},
            question_uuid=uuid4(),
            answer_uuid=uuid4(),
            lease=timedelta(seconds=9),
            key=IdempotentRequest(user, "route", str(number % 3), b"f" * 32),
        )
        async with pool.autocommit() as connection:
            with suppress(ActiveTurnError, IdempotencyKeyTakenError):
                await turns.start_turn(connection, new)

    async def erase(user: int) -> None:
        async with pool.transaction() as transaction:
            await transaction.execute(delete(User).where(User.id == user))

    for _ in range(30):
        user = sql.value(
            "INSERT INTO users (uuid, email, username, password_hash)"
            " VALUES (gen_random_uuid(), 'a@example.com', 'a', '') RETURNING id"
        )
        sessions = [uuid4() for _ in range(3)]
        for uuid in sessions:
            sql.do("INSERT INTO chat_sessions (uuid, user_id, title) VALUES (%s, %s, '')", [uuid, user])
        asked = [ask(user, uuid, number) for number in range(4) for uuid in sessions]
        await asyncio.gather(*asked[:6], erase(user), *asked[6:])  # a deadlock raises
        assert sql.value("SELECT count(*) FROM idempotency_keys") == 0


def test_answer_stored_by_a_killed_process_is_returned_to_a_repeated_request(
    chat: Chat, chat_process: ChatProcess, provider: Provider, sql: Sql, settings: Settings
) -> None:
    path, body = request_to(chat, "/sessions/{id}/messages")
    with psycopg2.connect(settings.DATABASE_URL) as blocker, ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate))
        asked = pool.submit(post, Chat(chat_process.client, chat.user), path, body)  # type: ignore[arg-type] # same interface
        provider.wait_for_calls(1)
        blocker.cursor().execute("SELECT FROM idempotency_keys FOR UPDATE")  # prevents the response from being stored
        gate.set()
        stored = "SELECT count(*) FROM chat_messages WHERE status = 'complete' AND role = 'assistant'"
        provider.wait_until(lambda: sql.value(stored) == 1)
        chat_process.kill()
        blocker.rollback()
        assert isinstance(asked.exception(), HTTPError)
    first = post(chat, path, body)
    assert first.json()["ai_response"]["content"] == "Hello."
    assert post(chat, path, body).content == first.content
    assert len(provider.calls) == 1


def ask_and_kill(chat: Chat, service: ChatProcess, provider: Provider, path: str, body: dict[str, Any]) -> None:
    """Send a request to another process and kill the process during the model call."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, Chat(service.client, chat.user), path, body)  # type: ignore[arg-type] # same interface
        provider.wait_for_calls(1)
        service.kill()
        assert isinstance(asked.exception(), HTTPError)
