"""Token and cost quotas: reservation before a model call, and usage after it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app import main
from app.config import DEFAULT_SYSTEM_PROMPT, ModelSetting, Settings
from app.core.exceptions import ServiceUnavailableError
from app.database.connection import Database
from app.database.repositories.chat import history
from app.database.repositories.usage import quotas
from tests.fixtures.database import Sql
from tests.fixtures.processes import ChatProcess
from tests.fixtures.services import CHAT, Chat, User, assert_problem
from tests.fixtures.streaming import ChatServer
from tests.support.provider import Provider, answers, fails, held, stalls
from tests.support.waiting import closed_gate, wait_until

ADMITTED, PER_QUESTION = 10, 100
"""Number of questions within the quota, and tokens that the provider reports for each."""
BILLED = answers("Yes.", usage=(PER_QUESTION - 10, 10))
SHORT = {"message": "Hi", "max_tokens": 50}
PROMPT = (len(DEFAULT_SYSTEM_PROMPT) + 2) // 2 + 50
"""Prompt tokens that are reserved for `SHORT` and the instructions."""


def give(sql: Sql, user: User, **quota: float | None) -> None:
    """Set the quotas of a user."""
    for name, value in quota.items():
        sql.do(f"UPDATE users SET quota_{name} = %s WHERE uuid = %s", [value, user.id])  # noqa: S608 - a column's name


def standing(chat: Chat) -> dict[str, dict[str, Any]]:
    response = chat.request("GET", "/quota")
    assert response.status_code == 200, response.text
    return dict(response.json())


def tokens_today(chat: Chat) -> tuple[int, int]:
    """Return the tokens used today and the tokens reserved."""
    tokens = standing(chat)["tokens_per_day"]
    return tokens["used"], tokens["reserved"]


def ask_directly(chat: Chat, **headers: str) -> Response:
    return chat.request("POST", "/direct", json=SHORT, headers=headers)


def test_50_concurrent_questions_at_two_processes_do_not_exceed_the_quota(
    chat: Chat, sql: Sql, provider: Provider, settings: Settings, home: Path
) -> None:
    provider.always(BILLED)
    give(sql, chat.user, tokens_per_day=ADMITTED * PER_QUESTION)
    process = ChatProcess(settings, home)
    sessions = [chat.open() for _ in range(50)]

    def ask(number: int) -> str:
        client = chat.client if number % 2 else process.client
        while True:
            path = "/direct" if number % 3 else f"/sessions/{sessions[number]}/messages"
            response = client.post(f"{CHAT}{path}", json=SHORT, headers=chat.user.headers)
            if response.status_code == 200:
                return "answered"
            assert response.status_code in {429, 503}
            code = str(response.json()["code"])
            if code not in {"quota_reserved", "database_unavailable"}:
                return code
            # Other turns are running and may release a part of their reservation; or the machine is busy.
            time.sleep(0.02)

    try:
        with ThreadPoolExecutor(50) as pool:
            came = Counter(pool.map(ask, range(50)))
    finally:
        process.stop()
    assert came == {"answered": ADMITTED, "quota_exceeded": 50 - ADMITTED}
    assert len(provider.calls) == ADMITTED
    assert tokens_today(chat) == (ADMITTED * PER_QUESTION, 0)


def test_questions_are_refused_while_running_answers_reserve_the_rest(chat: Chat, sql: Sql, provider: Provider) -> None:
    give(sql, chat.user, tokens_per_day=ADMITTED * PER_QUESTION)
    # The reservations of the first few questions exceed the quota.
    admitted = -(-ADMITTED * PER_QUESTION // (PROMPT + 50))
    with ThreadPoolExecutor(50) as pool, closed_gate() as gate:
        provider.always(held(gate, BILLED))
        asked = [pool.submit(ask_directly, chat) for _ in range(50)]
        wait_until(lambda: sum(one.done() for one in asked) >= 50 - admitted)
        gate.set()
        responses = [one.result() for one in asked]
    refused = [response for response in responses if response.status_code == 429]
    assert len(provider.calls) == 50 - len(refused) == admitted
    for response in refused:
        assert_problem(response, 429, "quota_reserved")
        assert response.headers["Retry-After"] == "2"
    assert tokens_today(chat) == (len(provider.calls) * PER_QUESTION, 0)


def test_refusal_names_the_quota_and_its_reset_time(chat: Chat, sql: Sql, provider: Provider) -> None:
    provider.always(BILLED)
    give(sql, chat.user, tokens_per_day=PER_QUESTION, tokens_per_month=10 * PER_QUESTION)
    session = chat.open()
    assert ask_directly(chat).status_code == 200
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    for path in ("/direct", "/direct/stream", f"/sessions/{session}/messages", f"/sessions/{session}/messages/stream"):
        before = datetime.now(UTC)
        response = chat.request("POST", path, json=SHORT)
        after = datetime.now(UTC)
        problem = assert_problem(response, 429, "quota_exceeded")
        assert problem["quota"] == "tokens_per_day"
        assert datetime.fromisoformat(problem["resets_at"]) == midnight
        wait = timedelta(seconds=int(response.headers["Retry-After"]))
        assert midnight - after <= wait <= midnight - before + timedelta(seconds=1)
    assert_problem(chat.request("POST", "/sessions", json={"initial_message": "Hi"}), 429, "quota_exceeded")
    assert len(provider.calls) == 1
    # Neither the question nor the session was stored.
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT count(*) FROM chat_sessions") == 1
    assert chat.request("GET", "/sessions").status_code == 200
    shown = standing(chat)
    assert shown["tokens_per_day"] == {
        "limit": PER_QUESTION,
        "used": PER_QUESTION,
        "reserved": 0,
        "remaining": 0,
        "resets_at": shown["tokens_per_day"]["resets_at"],
    }
    assert shown["tokens_per_month"]["remaining"] == 9 * PER_QUESTION
    assert shown["cost_per_day"]["limit"] is None
    assert shown["cost_per_month"]["remaining"] is None


def test_days_and_months_start_in_utc_and_are_counted_separately(chat: Chat, sql: Sql) -> None:
    insert = """
        INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, status, prompt_tokens, cost_usd, latency_ms,
                               created_at)
        SELECT gen_random_uuid(), 1, id, 'm', 'ok', %s, %s, 1, date_trunc(%s, now(), 'UTC') + %s FROM users
        WHERE uuid = %s
    """
    second = timedelta(seconds=1)
    for tokens, cost, period, offset in [
        (1, "0.01", "day", timedelta(0)),
        (10, "0.10", "day", -second),
        (100, "1", "month", timedelta(0)),
        (1000, "10", "month", -second),
    ]:
        sql.do(insert, [tokens, cost, period, offset, chat.user.id])
    shown = standing(chat)
    if datetime.now(UTC).day == 1:  # today is the month so far
        assert (shown["tokens_per_day"]["used"], shown["tokens_per_month"]["used"]) == (101, 101)
        return
    assert (shown["tokens_per_day"]["used"], shown["tokens_per_month"]["used"]) == (1, 111)
    assert (float(shown["cost_per_day"]["used"]), float(shown["cost_per_month"]["used"])) == (0.01, 1.11)
    month_ends = datetime.fromisoformat(shown["tokens_per_month"]["resets_at"])
    assert (month_ends.day, month_ends.hour, month_ends > datetime.now(UTC)) == (1, 0, True)


@pytest.mark.parametrize("period", ["day", "month"])
def test_cost_quota_is_enforced(chat: Chat, sql: Sql, provider: Provider, period: str) -> None:
    give(sql, chat.user, **{f"cost_per_{period}": 1.5})
    spend = """
        INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, status, cost_usd, latency_ms)
        SELECT gen_random_uuid(), 1, id, 'm', 'ok', 0.8, 1 FROM users WHERE uuid = %s
    """
    sql.do(spend, [chat.user.id])
    assert ask_directly(chat).status_code == 200
    sql.do(spend, [chat.user.id])
    problem = assert_problem(ask_directly(chat), 429, "quota_exceeded")
    assert problem["quota"] == f"cost_per_{period}"
    assert len(provider.calls) == 1


@pytest.fixture(scope="module")
def metered_service(settings: Settings) -> Iterator[TestClient]:
    """A service with default quotas and prices of models."""
    changed = settings.model_copy(
        update={
            "QUOTA_TOKENS_PER_DAY": 10_000,
            "QUOTA_COST_PER_DAY": 1000,
            "LLM_MODELS": [
                ModelSetting(name="gpt-primary", prompt_price=Decimal(1000), completion_price=Decimal(100_000))
            ],
        }
    )
    with TestClient(main.create(changed)) as client:
        yield client


@pytest.fixture
def metered(metered_service: TestClient, chat: Chat) -> Chat:
    return Chat(metered_service, chat.user)


def reserved_during(chat: Chat, provider: Provider, ask: Callable[[], Response]) -> dict[str, dict[str, Any]]:
    """Return the quota status while the question is being answered."""
    asked = len(provider.calls)
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate, answers("Yes.", usage=(10, 10))))
        answer = pool.submit(ask)
        provider.wait_until(lambda: len(provider.calls) > asked)
        shown = standing(chat)
        gate.set()
        assert answer.result().status_code == 200
    return shown


def test_tokens_and_the_highest_price_are_reserved(metered: Chat, provider: Provider) -> None:
    shown = reserved_during(metered, provider, lambda: ask_directly(metered))
    assert shown["tokens_per_day"]["reserved"] == PROMPT + 50
    assert float(shown["cost_per_day"]["reserved"]) == pytest.approx((PROMPT * 1000 + 50 * 100_000) / 1e6)
    assert standing(metered)["tokens_per_day"]["reserved"] == 0


def test_history_and_session_instructions_are_included_in_the_reservation(
    metered: Chat, provider: Provider, sql: Sql
) -> None:
    session = metered.open()
    provider.script(answers("Yes.", usage=(3000, 20)), answers("No.", usage=(10, 10)))
    for _ in range(2):
        metered.ask(session, "Hi")
    sql.do("UPDATE chat_sessions SET metadata = jsonb_build_object('system_prompt', repeat('x', 100))")
    ask = lambda: metered.request("POST", f"/sessions/{session}/messages", json=SHORT)  # noqa: E731 - used here only
    shown = reserved_during(metered, provider, ask)
    assert shown["tokens_per_day"]["reserved"] == PROMPT + 50 + 3020 + 50
    assert float(shown["cost_per_day"]["reserved"]) == pytest.approx(((PROMPT + 3020 + 50) * 1000 + 50 * 100_000) / 1e6)


def test_default_quota_applies_without_a_user_quota_and_zero_removes_the_limit(
    metered: Chat, sql: Sql, provider: Provider
) -> None:
    provider.always(answers("Yes.", usage=(9_990, 10)))
    assert standing(metered)["tokens_per_day"]["limit"] == 10_000
    assert ask_directly(metered).status_code == 200
    assert_problem(ask_directly(metered), 429, "quota_exceeded")
    give(sql, metered.user, tokens_per_day=20_001)
    assert ask_directly(metered).status_code == 200
    assert ask_directly(metered).status_code == 200
    assert_problem(ask_directly(metered), 429, "quota_exceeded")
    give(sql, metered.user, tokens_per_day=0)
    assert ask_directly(metered).status_code == 200
    assert standing(metered)["tokens_per_day"]["limit"] is None
    give(sql, metered.user, tokens_per_day=None)
    assert_problem(ask_directly(metered), 429, "quota_exceeded")


def test_no_quota_means_no_database_lookup(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(*_: object) -> None:
        pytest.fail("a quota was looked up")

    monkeypatch.setattr(quotas, "lock_quota", asked)
    assert ask_directly(chat).status_code == 200
    chat.ask(chat.open(), "Hi")


def test_refused_question_leaves_no_reservation(chat: Chat, sql: Sql, provider: Provider) -> None:
    give(sql, chat.user, tokens_per_day=100_000)
    session = chat.open()
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate, answers("Yes.", usage=(10, 10))))
        answer = pool.submit(chat.ask, session, "Hi")
        provider.wait_until(lambda: len(provider.calls) == 1)
        busy = chat.request("POST", f"/sessions/{session}/messages", json=SHORT)
        assert_problem(busy, 409, "turn_active")
        gate.set()
        answer.result()
    nowhere = chat.request("POST", f"/sessions/{UUID(int=1)}/messages", json=SHORT)
    assert_problem(nowhere, 404, "not_found")
    for body in (SHORT, SHORT, SHORT | {"message": "Another"}):
        chat.request("POST", "/direct", json=body, headers={"Idempotency-Key": "key"})
    assert tokens_today(chat)[1] == 0


@pytest.mark.parametrize("path", ["/direct", "/sessions/{}/messages", "/direct/stream", "/sessions/{}/messages/stream"])
def test_exhausted_quota_does_not_prevent_replaying_an_answer(
    chat: Chat, sql: Sql, provider: Provider, path: str
) -> None:
    provider.always(BILLED)
    give(sql, chat.user, tokens_per_day=PER_QUESTION)
    path = path.format(chat.open())
    key = {"Idempotency-Key": "key"}
    assert chat.request("POST", path, json=SHORT, headers=key).status_code == 200
    assert_problem(chat.request("POST", path, json=SHORT), 429, "quota_exceeded")
    again = chat.request("POST", path, json=SHORT, headers=key)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert_problem(chat.request("POST", path, json=SHORT, headers={"Idempotency-Key": "new"}), 429, "quota_exceeded")
    assert len(provider.calls) == 1


def test_failed_turn_counts_its_usage_and_releases_the_rest(chat: Chat, sql: Sql, provider: Provider) -> None:
    give(sql, chat.user, tokens_per_day=100_000)
    provider.script(fails(400), fails(400))
    assert chat.ask(chat.open(), "Hi")["ai_response"]["status"] == "failed"
    assert tokens_today(chat) == (0, 0)
    provider.script(fails(400), BILLED)
    assert chat.ask(chat.open(), "Hi")["ai_response"]["status"] == "complete"
    assert tokens_today(chat) == (PER_QUESTION, 0)


@pytest.mark.parametrize("path", ["/direct", "/sessions/{}/messages"])
def test_history_error_leaves_no_reservation(
    chat: Chat, sql: Sql, provider: Provider, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    give(sql, chat.user, tokens_per_day=100_000)
    path = path.format(chat.open())

    async def away(*_: object, **__: object) -> None:
        raise ServiceUnavailableError

    monkeypatch.setattr(history, "load_history", away)
    response = chat.request("POST", path, json=SHORT)
    assert response.status_code == 200
    assert len(provider.calls) == ("direct" in path)
    assert tokens_today(chat)[1] == 0


def test_cancelled_turn_counts_its_estimated_usage_and_releases_the_rest(
    server: ChatServer, sql: Sql, provider: Provider
) -> None:
    give(sql, server.user, tokens_per_day=100_000)
    session = server.open()
    with closed_gate() as gate:
        provider.script(answers(" ".join("word" for _ in range(100)), every=0.1, end=gate))
        with server.ask(session) as reader:
            created, *_ = reader.read_to(4)
            reserved = server.http.get("/quota").json()["tokens_per_day"]["reserved"]
            assert reserved > 2048
            assert server.cancel(session, created.data["message_id"]).json()["status"] == "cancelled"
    shown = server.http.get("/quota").json()["tokens_per_day"]
    assert 0 < shown["used"] < reserved
    assert shown["reserved"] == 0


def test_reservation_of_a_killed_process_is_released_on_recovery_or_expiry(
    chat: Chat, sql: Sql, provider: Provider, chat_process: ChatProcess
) -> None:
    give(sql, chat.user, tokens_per_day=100_000)
    session = chat.open()
    provider.script(stalls(), stalls())
    with ThreadPoolExecutor(2) as pool:
        for path in (f"/sessions/{session}/messages", "/direct"):
            pool.submit(chat_process.client.post, f"{CHAT}{path}", json=SHORT, headers=chat.user.headers)
        provider.wait_until(lambda: len(provider.calls) == 2)
        chat_process.kill()
    used, reserved = tokens_today(chat)
    assert (used, reserved) == (0, 2 * (PROMPT + 50))
    sql.do("UPDATE chat_messages SET lease_expires_at = now() - interval '1 minute' WHERE status = 'pending'")
    provider.script(BILLED)
    chat.ask(session, "And now?")
    # The direct question never ends: its reservation is released when it expires.
    used, direct = tokens_today(chat)
    assert used > PER_QUESTION
    assert direct == PROMPT + 50
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


def test_deleting_a_session_does_not_restore_its_quota(chat: Chat, sql: Sql, provider: Provider) -> None:
    provider.always(BILLED)
    give(sql, chat.user, tokens_per_day=PER_QUESTION)
    session = chat.open()
    chat.ask(session, "Hi")
    assert chat.request("DELETE", f"/sessions/{session}").status_code == 200
    assert_problem(ask_directly(chat), 429, "quota_exceeded")
