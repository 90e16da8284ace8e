"""Token and cost quotas: limits, periods and refusals."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.config import Settings
from app.database.repositories.usage import quotas
from tests.chat.turns.quota_requests import (
    ALLOWED_QUESTIONS,
    COUNTED_ANSWER,
    SHORT_QUESTION,
    TOKENS_PER_QUESTION,
    ask_directly,
    quota_status,
    set_quota,
    tokens_today,
)
from tests.fixtures.database import Sql
from tests.fixtures.processes import ChatProcess
from tests.fixtures.services import CHAT, Chat, assert_problem
from tests.support.provider import Provider, answers


def test_50_concurrent_questions_at_two_processes_do_not_exceed_the_quota(
    chat: Chat, sql: Sql, provider: Provider, settings: Settings, home: Path
) -> None:
    provider.always(COUNTED_ANSWER)
    set_quota(sql, chat.user, tokens_per_day=ALLOWED_QUESTIONS * TOKENS_PER_QUESTION)
    process = ChatProcess(settings, home)
    sessions = [chat.open() for _ in range(50)]

    def ask(number: int) -> str:
        client = chat.client if number % 2 else process.client
        while True:
            path = "/direct" if number % 3 else f"/sessions/{sessions[number]}/messages"
            response = client.post(f"{CHAT}{path}", json=SHORT_QUESTION, headers=chat.user.headers)
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
            outcomes = Counter(pool.map(ask, range(50)))
    finally:
        process.stop()
    assert outcomes == {"answered": ALLOWED_QUESTIONS, "quota_exceeded": 50 - ALLOWED_QUESTIONS}
    assert len(provider.calls) == ALLOWED_QUESTIONS
    assert tokens_today(chat) == (ALLOWED_QUESTIONS * TOKENS_PER_QUESTION, 0)


def test_refusal_names_the_quota_and_its_reset_time(chat: Chat, sql: Sql, provider: Provider) -> None:
    provider.always(COUNTED_ANSWER)
    set_quota(sql, chat.user, tokens_per_day=TOKENS_PER_QUESTION, tokens_per_month=10 * TOKENS_PER_QUESTION)
    session = chat.open()
    assert ask_directly(chat).status_code == 200
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    for path in ("/direct", "/direct/stream", f"/sessions/{session}/messages", f"/sessions/{session}/messages/stream"):
        before = datetime.now(UTC)
        response = chat.request("POST", path, json=SHORT_QUESTION)
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
    status = quota_status(chat)
    assert status["tokens_per_day"] == {
        "limit": TOKENS_PER_QUESTION,
        "used": TOKENS_PER_QUESTION,
        "reserved": 0,
        "remaining": 0,
        "resets_at": status["tokens_per_day"]["resets_at"],
    }
    assert status["tokens_per_month"]["remaining"] == 9 * TOKENS_PER_QUESTION
    assert status["cost_per_day"]["limit"] is None
    assert status["cost_per_month"]["remaining"] is None


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
    status = quota_status(chat)
    if datetime.now(UTC).day == 1:  # today is the month so far
        assert (status["tokens_per_day"]["used"], status["tokens_per_month"]["used"]) == (101, 101)
        return
    assert (status["tokens_per_day"]["used"], status["tokens_per_month"]["used"]) == (1, 111)
    assert (float(status["cost_per_day"]["used"]), float(status["cost_per_month"]["used"])) == (0.01, 1.11)
    month_ends = datetime.fromisoformat(status["tokens_per_month"]["resets_at"])
    assert (month_ends.day, month_ends.hour, month_ends > datetime.now(UTC)) == (1, 0, True)


@pytest.mark.parametrize("period", ["day", "month"])
def test_cost_quota_is_enforced(chat: Chat, sql: Sql, provider: Provider, period: str) -> None:
    set_quota(sql, chat.user, **{f"cost_per_{period}": 1.5})
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


def test_default_quota_applies_without_a_user_quota_and_zero_removes_the_limit(
    metered: Chat, sql: Sql, provider: Provider
) -> None:
    provider.always(answers("Yes.", usage=(9_990, 10)))
    assert quota_status(metered)["tokens_per_day"]["limit"] == 10_000
    assert ask_directly(metered).status_code == 200
    assert_problem(ask_directly(metered), 429, "quota_exceeded")
    set_quota(sql, metered.user, tokens_per_day=20_001)
    assert ask_directly(metered).status_code == 200
    assert ask_directly(metered).status_code == 200
    assert_problem(ask_directly(metered), 429, "quota_exceeded")
    set_quota(sql, metered.user, tokens_per_day=0)
    assert ask_directly(metered).status_code == 200
    assert quota_status(metered)["tokens_per_day"]["limit"] is None
    set_quota(sql, metered.user, tokens_per_day=None)
    assert_problem(ask_directly(metered), 429, "quota_exceeded")


def test_no_quota_means_no_database_lookup(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        pytest.fail("a quota was looked up")

    monkeypatch.setattr(quotas, "lock_quota", fail)
    assert ask_directly(chat).status_code == 200
    chat.ask(chat.open(), "Hi")


@pytest.mark.parametrize("path", ["/direct", "/sessions/{}/messages", "/direct/stream", "/sessions/{}/messages/stream"])
def test_exhausted_quota_does_not_prevent_replaying_an_answer(
    chat: Chat, sql: Sql, provider: Provider, path: str
) -> None:
    provider.always(COUNTED_ANSWER)
    set_quota(sql, chat.user, tokens_per_day=TOKENS_PER_QUESTION)
    path = path.format(chat.open())
    key = {"Idempotency-Key": "key"}
    assert chat.request("POST", path, json=SHORT_QUESTION, headers=key).status_code == 200
    assert_problem(chat.request("POST", path, json=SHORT_QUESTION), 429, "quota_exceeded")
    again = chat.request("POST", path, json=SHORT_QUESTION, headers=key)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert_problem(
        chat.request("POST", path, json=SHORT_QUESTION, headers={"Idempotency-Key": "new"}), 429, "quota_exceeded"
    )
    sql.do("UPDATE idempotency_keys SET expires_at = now()")
    assert_problem(chat.request("POST", path, json=SHORT_QUESTION, headers=key), 429, "quota_exceeded")
    assert len(provider.calls) == 1


def test_deleting_a_session_does_not_restore_its_quota(chat: Chat, sql: Sql, provider: Provider) -> None:
    provider.always(COUNTED_ANSWER)
    set_quota(sql, chat.user, tokens_per_day=TOKENS_PER_QUESTION)
    session = chat.open()
    chat.ask(session, "Hi")
    assert chat.request("DELETE", f"/sessions/{session}").status_code == 200
    assert_problem(ask_directly(chat), 429, "quota_exceeded")
