"""Quota reservations: made before a model call, and replaced by the usage after it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response

from app.core.exceptions import ServiceUnavailableError
from app.database.connection import Database
from app.database.repositories.chat import history
from app.database.repositories.usage import quotas
from tests.chat.turns.quota_requests import (
    ALLOWED_QUESTIONS,
    COUNTED_ANSWER,
    PROMPT_TOKENS,
    SHORT_QUESTION,
    TOKENS_PER_QUESTION,
    ask_directly,
    quota_status,
    set_quota,
    tokens_today,
)
from tests.fixtures.database import Sql
from tests.fixtures.processes import ChatProcess
from tests.fixtures.services import CHAT, Chat, User, assert_problem
from tests.fixtures.streaming import ChatServer
from tests.support.provider import Provider, answers, fails, held, stalls
from tests.support.waiting import closed_gate, wait_until


def test_questions_are_refused_while_running_answers_reserve_the_rest(chat: Chat, sql: Sql, provider: Provider) -> None:
    set_quota(sql, chat.user, tokens_per_day=ALLOWED_QUESTIONS * TOKENS_PER_QUESTION)
    # The reservations of the first few questions exceed the quota.
    allowed = -(-ALLOWED_QUESTIONS * TOKENS_PER_QUESTION // (PROMPT_TOKENS + 50))
    with ThreadPoolExecutor(50) as pool, closed_gate() as gate:
        provider.always(held(gate, COUNTED_ANSWER))
        futures = [pool.submit(ask_directly, chat) for _ in range(50)]
        wait_until(lambda: sum(future.done() for future in futures) >= 50 - allowed)
        gate.set()
        responses = [future.result() for future in futures]
    refused = [response for response in responses if response.status_code == 429]
    assert len(provider.calls) == 50 - len(refused) == allowed
    for response in refused:
        assert_problem(response, 429, "quota_reserved")
        assert response.headers["Retry-After"] == "2"
    assert tokens_today(chat) == (len(provider.calls) * TOKENS_PER_QUESTION, 0)


def quota_during(chat: Chat, provider: Provider, ask: Callable[[], Response]) -> dict[str, dict[str, Any]]:
    """Return the quota status while the question is being answered."""
    earlier_calls = len(provider.calls)
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate, answers("Yes.", usage=(10, 10))))
        future = pool.submit(ask)
        provider.wait_until(lambda: len(provider.calls) > earlier_calls)
        status = quota_status(chat)
        gate.set()
        assert future.result().status_code == 200
    return status


def test_tokens_and_the_highest_price_are_reserved(metered: Chat, provider: Provider) -> None:
    status = quota_during(metered, provider, lambda: ask_directly(metered))
    assert status["tokens_per_day"]["reserved"] == PROMPT_TOKENS + 50
    assert float(status["cost_per_day"]["reserved"]) == pytest.approx((PROMPT_TOKENS * 1000 + 50 * 100_000) / 1e6)
    assert quota_status(metered)["tokens_per_day"]["reserved"] == 0


def test_history_and_session_instructions_are_included_in_the_reservation(
    metered: Chat, provider: Provider, sql: Sql
) -> None:
    session = metered.open()
    provider.script(answers("Yes.", usage=(3000, 20)), answers("No.", usage=(10, 10)))
    for _ in range(2):
        metered.ask(session, "Hi")
    sql.do("UPDATE chat_sessions SET metadata = jsonb_build_object('system_prompt', repeat('x', 100))")

    def ask() -> Response:
        return metered.request("POST", f"/sessions/{session}/messages", json=SHORT_QUESTION)

    status = quota_during(metered, provider, ask)
    assert status["tokens_per_day"]["reserved"] == PROMPT_TOKENS + 50 + 3020 + 50
    assert float(status["cost_per_day"]["reserved"]) == pytest.approx(
        ((PROMPT_TOKENS + 3020 + 50) * 1000 + 50 * 100_000) / 1e6
    )


def test_refused_question_leaves_no_reservation(chat: Chat, sql: Sql, provider: Provider) -> None:
    set_quota(sql, chat.user, tokens_per_day=100_000)
    session = chat.open()
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate, answers("Yes.", usage=(10, 10))))
        future = pool.submit(chat.ask, session, "Hi")
        provider.wait_until(lambda: len(provider.calls) == 1)
        busy = chat.request("POST", f"/sessions/{session}/messages", json=SHORT_QUESTION)
        assert_problem(busy, 409, "turn_active")
        gate.set()
        future.result()
    missing = chat.request("POST", f"/sessions/{UUID(int=1)}/messages", json=SHORT_QUESTION)
    assert_problem(missing, 404, "not_found")
    for body in (SHORT_QUESTION, SHORT_QUESTION, SHORT_QUESTION | {"message": "Another"}):
        chat.request("POST", "/direct", json=body, headers={"Idempotency-Key": "key"})
    assert tokens_today(chat)[1] == 0


def test_failed_turn_counts_its_usage_and_releases_the_rest(chat: Chat, sql: Sql, provider: Provider) -> None:
    set_quota(sql, chat.user, tokens_per_day=100_000)
    provider.script(fails(400), fails(400))
    assert chat.ask(chat.open(), "Hi")["ai_response"]["status"] == "failed"
    assert tokens_today(chat) == (0, 0)
    provider.script(fails(400), COUNTED_ANSWER)
    assert chat.ask(chat.open(), "Hi")["ai_response"]["status"] == "complete"
    assert tokens_today(chat) == (TOKENS_PER_QUESTION, 0)


@pytest.mark.parametrize("path", ["/direct", "/sessions/{}/messages"])
def test_history_error_leaves_no_reservation(
    chat: Chat, sql: Sql, provider: Provider, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    set_quota(sql, chat.user, tokens_per_day=100_000)
    path = path.format(chat.open())

    async def fail(*_: object, **__: object) -> None:
        raise ServiceUnavailableError

    monkeypatch.setattr(history, "load_history", fail)
    response = chat.request("POST", path, json=SHORT_QUESTION)
    assert response.status_code == 200
    assert len(provider.calls) == ("direct" in path)
    assert tokens_today(chat)[1] == 0


def test_turn_without_model_call_of_a_deleted_session_leaves_no_reservation(
    chat: Chat, sql: Sql, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_quota(sql, chat.user, tokens_per_day=100_000)

    async def fail_after_deletion(*_: object, **__: object) -> None:
        sql.do("DELETE FROM chat_sessions")
        raise ServiceUnavailableError

    monkeypatch.setattr(history, "load_history", fail_after_deletion)
    response = chat.request("POST", f"/sessions/{chat.open()}/messages", json=SHORT_QUESTION)
    assert_problem(response, 404, "not_found")
    assert provider.calls == []
    assert tokens_today(chat) == (0, 0)


def test_cancelled_turn_counts_its_estimated_usage_and_releases_the_rest(
    server: ChatServer, sql: Sql, provider: Provider
) -> None:
    set_quota(sql, server.user, tokens_per_day=100_000)
    session = server.open()
    with closed_gate() as gate:
        provider.script(answers(" ".join("word" for _ in range(100)), every=0.1, end=gate))
        with server.ask(session) as reader:
            created, *_ = reader.read_to(4)
            reserved = server.http.get("/quota").json()["tokens_per_day"]["reserved"]
            assert reserved > 2048
            assert server.cancel(session, created.data["message_id"]).json()["status"] == "cancelled"
    status = server.http.get("/quota").json()["tokens_per_day"]
    assert 0 < status["used"] < reserved
    assert status["reserved"] == 0


def test_reservation_of_a_killed_process_is_released_on_recovery_or_expiry(
    chat: Chat, sql: Sql, provider: Provider, chat_process: ChatProcess
) -> None:
    set_quota(sql, chat.user, tokens_per_day=100_000)
    session = chat.open()
    provider.script(stalls(), stalls())
    with ThreadPoolExecutor(2) as pool:
        for path in (f"/sessions/{session}/messages", "/direct"):
            pool.submit(chat_process.client.post, f"{CHAT}{path}", json=SHORT_QUESTION, headers=chat.user.headers)
        provider.wait_until(lambda: len(provider.calls) == 2)
        chat_process.kill()
    used, reserved = tokens_today(chat)
    assert (used, reserved) == (0, 2 * (PROMPT_TOKENS + 50))
    sql.do("UPDATE chat_messages SET lease_expires_at = now() - interval '1 minute' WHERE status = 'pending'")
    provider.script(COUNTED_ANSWER)
    chat.ask(session, "And now?")
    # The direct question never ends: its reservation is released when it expires.
    used, direct = tokens_today(chat)
    assert used > TOKENS_PER_QUESTION
    assert direct == PROMPT_TOKENS + 50
    sql.do("UPDATE quota_reservations SET expires_at = now()")
    assert tokens_today(chat) == (used, 0)


async def test_expired_reservations_are_purged(pool: Database, sql: Sql, ada: User) -> None:
    sql.do(
        "INSERT INTO quota_reservations (turn_id, user_id, tokens, cost_usd, expires_at)"
        " SELECT gen_random_uuid(), users.id, 1, 0, now() + age * interval '1 h' FROM users, generate_series(-2, 2) age"
    )
    async with pool.autocommit() as connection:
        assert await quotas.purge(connection, limit=2) == 2
        assert await quotas.purge(connection, limit=2) == 1
        assert await quotas.purge(connection, limit=2) == 0
    assert sql.value("SELECT count(*) FROM quota_reservations") == 2
