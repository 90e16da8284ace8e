"""Concurrent requests with the same `Idempotency-Key`."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete

from app.database.connection import Database
from app.database.models import User
from app.database.repositories.turns import turn_start
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest
from app.database.repositories.turns.turns import ActiveTurnError, NewTurn
from tests.chat.idempotency.idempotent_requests import ROUTES, assert_replayed, post, request_for
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, held
from tests.support.waiting import closed_gate, wait_until


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "/sessions"])
def test_one_of_20_concurrent_requests_with_the_same_key_runs(chat: Chat, provider: Provider, route: str) -> None:
    path, body = request_for(chat, route)
    with ThreadPoolExecutor(20) as pool, closed_gate() as gate:
        provider.always(held(gate))
        futures = [pool.submit(post, chat, path, body) for _ in range(20)]
        wait_until(lambda: sum(future.done() for future in futures) == 19)
        gate.set()
        responses = [future.result() for future in futures]
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
    path, body = request_for(chat, "/sessions/{id}/messages")
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate))
        future = pool.submit(post, chat, path, body)
        provider.wait_for_calls(1)
        problem = assert_problem(post(chat, path, body), 409, "idempotency_in_progress")
        assert_problem(post(chat, path, {"message": "Another"}), 422, "idempotency_key_reused")
        gate.set()
        first = future.result()
    assert first.json()["ai_response"]["id"] == problem["message_id"]
    assert_replayed(post(chat, path, body), first)


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
                await turn_start.start_turn(connection, new)

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
        questions = [ask(user, uuid, number) for number in range(4) for uuid in sessions]
        await asyncio.gather(*questions[:6], erase(user), *questions[6:])  # a deadlock raises
        assert sql.value("SELECT count(*) FROM idempotency_keys") == 0
