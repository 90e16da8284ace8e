"""Worker process and its jobs, including the recovery of abandoned turns."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from alembic import command
from httpx2 import HTTPError
from sqlalchemy import delete, select, update

from app.chat.turns.recovery import TurnRecovery, UsageEstimate
from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.database import migrations
from app.database.connection import Database
from app.database.models import ChatSession, LlmCall, User
from app.database.repositories.chat import turn_start, turns
from app.database.repositories.chat.turns import Answer, NewTurn, StartedTurn
from app.database.repositories.usage.ledger import LedgerEntry
from app.worker import jobs
from app.worker.jobs import build_jobs
from local.paths import PROJECT
from tests.fixtures.database import Sql
from tests.fixtures.processes import ChatProcess, WorkerProcess, environment
from tests.fixtures.services import CHAT, Chat
from tests.fixtures.streaming import ChatServer, Event, text_of
from tests.support.fakes import price, turn_recovery
from tests.support.provider import Provider, answers, chunk, stalls, streams
from tests.support.waiting import LONGEST_WAIT, eventually

ADA = """
INSERT INTO users (uuid, email, username, password_hash)
VALUES (gen_random_uuid(), 'ada@example.com', 'ada', '') RETURNING id
"""
STATUS = "SELECT status FROM chat_messages WHERE role = 'assistant'"
NONE_PENDING = "SELECT count(*) = 0 FROM chat_messages WHERE status = 'pending'"


async def abandon(database: Database, sql: Sql, user: int, count: int) -> list[StartedTurn]:
    """Start turns with an expired lease, each in its own session."""
    abandoned = []
    for _ in range(count):
        uuid = uuid4()
        sql.do("INSERT INTO chat_sessions (uuid, user_id, title) VALUES (%s, %s, '')", [uuid, user])
        new = NewTurn(
            user_id=user,
            session_uuid=uuid,
            content="Twelve chars",
            meta={},
            question_uuid=uuid4(),
            answer_uuid=uuid4(),
            lease=timedelta(seconds=-1),
            model="gpt-asked-for",
        )
        async with database.autocommit() as connection:
            started = await turn_start.start_turn(connection, new)
        assert started is not None
        abandoned.append(started)
    return abandoned


def test_the_answer_of_a_killed_process_is_interrupted_and_its_session_can_be_used(
    chat: Chat, chat_process: ChatProcess, worker: WorkerProcess, provider: Provider, sql: Sql
) -> None:
    session = chat.open()
    provider.script(stalls())
    with ThreadPoolExecutor(1) as pool:
        path = f"{CHAT}/sessions/{session}/messages"
        asked = pool.submit(chat_process.client.post, path, json={"message": "Hi"}, headers=chat.user.headers)
        provider.wait_for_calls(1)
        chat_process.kill()
        assert isinstance(asked.exception(), HTTPError)
    assert sql.value(STATUS) == "pending"
    sql.do("UPDATE chat_messages SET lease_expires_at = now() + interval '1 second' WHERE status = 'pending'")
    Provider.wait_until(lambda: sql.value(STATUS) == "interrupted")
    _, answer = chat.request("GET", f"/sessions/{session}").json()["messages"]
    assert (answer["status"], answer["metadata"]["error"]) == ("interrupted", "interrupted")
    assert chat.ask(session, "And now?")["ai_response"]["status"] == "complete"
    Provider.wait_until(lambda: worker.recovered_turns() == 1)


def read_and_kill(chat_process: ChatProcess, chat: Chat, provider: Provider, session: str) -> tuple[str, str]:
    """Read the start of a streamed answer and kill its process; return the answer's id and the text received."""
    provider.script(streams(*(chunk(f"word{number} ") for number in range(500)), every=0.02, hold=True))
    server = ChatServer(chat_process.url, chat.user)
    seen: list[Event] = []
    is_killed = False
    with suppress(httpx.HTTPError), server.ask(session) as reader:
        for event in reader:
            seen.append(event)
            if not is_killed and len(text_of(seen)) > 50:
                chat_process.kill()
                is_killed = True
    server.http.close()
    text = text_of(seen)
    assert text.startswith("word0 word1")
    assert not seen[-1].name.startswith("message.completed")
    return seen[0].data["message_id"], text


def expire(sql: Sql) -> None:
    sql.do("UPDATE chat_messages SET lease_expires_at = now() WHERE status = 'pending'")


def assert_stored(answer: dict[str, Any], seen: str, sql: Sql) -> None:
    assert answer["status"] == "interrupted"
    assert answer["content"].startswith(seen)
    (call,) = sql.rows("SELECT status, completion_tokens, is_estimated FROM llm_calls ORDER BY id LIMIT 1")
    assert call == {"status": "cancelled", "completion_tokens": -(-len(answer["content"]) // 4), "is_estimated": True}


def test_the_published_text_of_a_killed_process_is_stored(
    chat: Chat, chat_process: ChatProcess, settings: Settings, home: Path, provider: Provider, sql: Sql
) -> None:
    session = chat.open()
    _, seen = read_and_kill(chat_process, chat, provider, session)
    expire(sql)
    worker = WorkerProcess(settings, home)
    try:
        Provider.wait_until(lambda: sql.value(NONE_PENDING))
    finally:
        worker.stop()
    assert_stored(chat.request("GET", f"/sessions/{session}").json()["messages"][1], seen, sql)


def test_the_next_question_stores_the_published_text_without_the_worker(
    chat: Chat, chat_process: ChatProcess, provider: Provider, sql: Sql
) -> None:
    session = chat.open()
    _, seen = read_and_kill(chat_process, chat, provider, session)
    problem = chat.request("POST", f"/sessions/{session}/messages", json={"message": "And now?"})
    assert problem.json()["code"] == "turn_active"
    expire(sql)
    provider.always(answers("Hello."))
    assert chat.ask(session, "And now?")["ai_response"]["content"] == "Hello."
    assert_stored(chat.request("GET", f"/sessions/{session}").json()["messages"][1], seen, sql)


async def test_recovery_waits_some_seconds_for_unavailable_text(pool: Database, sql: Sql) -> None:
    await abandon(pool, sql, sql.value(ADA), 1)
    lease = "UPDATE chat_messages SET lease_expires_at = now() - %s * interval '1 second' WHERE status = 'pending'"
    sql.do(lease, [1])
    assert await turn_recovery(pool, None).recover_batch() == 0
    assert sql.value(STATUS) == "pending"
    sql.do(lease, [4])
    assert await turn_recovery(pool, None).recover_batch() == 1
    assert sql.value(STATUS) == "interrupted"


async def test_an_answer_that_cannot_be_recovered_does_not_block_others(pool: Database, sql: Sql) -> None:
    spoilt, sound = await abandon(pool, sql, sql.value(ADA), 2)

    async def published(answer: UUID) -> str:
        return "\x00" if answer == spoilt.answer_uuid else "Hello"

    assert await replace(turn_recovery(pool), load_published_text=published).recover_batch() == 1
    assert sql.value("SELECT content FROM chat_messages WHERE uuid = %s", [str(sound.answer_uuid)]) == "Hello"


async def test_recovery_stores_the_published_text_and_an_estimate_in_the_ledger(pool: Database, sql: Sql) -> None:
    (turn,) = await abandon(pool, sql, sql.value(ADA), 1)
    assert await turn_recovery(pool, "Hello Ada, I was about").recover_batch() == 1
    (answer,) = sql.rows(
        "SELECT status, content, metadata, tokens_used, lease_expires_at FROM chat_messages WHERE role = 'assistant'"
    )
    assert answer == {
        "status": "interrupted",
        "content": "Hello Ada, I was about",
        "metadata": {
            "error": "interrupted",
            "attempts": 1,
            "model_requested": "gpt-asked-for",
            "model_used": None,
            "fallback_model": False,
            "fallback_reason": None,
            "cached": False,
            "tokens_used": {"input": 3, "output": 6, "total": 9},
            "tokens_estimated": True,
            "cost_usd": "0.015000000",
            "first_token_ms": None,
        },
        "tokens_used": 9,
        "lease_expires_at": None,
    }
    (session,) = sql.rows(
        "SELECT message_count, last_message_preview, updated_at > created_at AS moved FROM chat_sessions"
    )
    assert session == {"message_count": 2, "last_message_preview": "Hello Ada, I was about", "moved": True}
    ledger = sql.rows(
        "SELECT turn_id, attempt, user_id = 1 AS hers, session_id, model_requested, status, prompt_tokens,"
        " completion_tokens, is_estimated, cost_usd FROM llm_calls"
    )
    assert ledger == [
        {
            "turn_id": turn.answer_uuid,
            "attempt": 1,
            "hers": True,
            "session_id": turn.session_id,
            "model_requested": "gpt-asked-for",
            "status": "cancelled",
            "prompt_tokens": 3,
            "completion_tokens": 6,
            "is_estimated": True,
            "cost_usd": Decimal("0.015"),
        }
    ]
    assert await turn_recovery(pool).recover_batch() == 0


async def test_a_slow_process_cannot_complete_a_recovered_turn(pool: Database, sql: Sql) -> None:
    user = sql.value(ADA)
    (turn,) = await abandon(pool, sql, user, 1)
    await turn_recovery(pool, "Half").recover_batch()
    late = Answer(content="Whole", status="complete", meta={}, tokens_used=3, processing_time_ms=4)
    # The process made a second attempt that recovery did not know of: the estimate remains.
    calls = [LedgerEntry(n, "m", "m", False, "ok", None, 1, 2, False, 4) for n in (1, 2)]  # noqa: FBT003 - as its fields say
    async with pool.autocommit() as connection:
        assert await turns.complete_turn(connection, turn, late, user_id=user, calls=calls) is None
    assert sql.value("SELECT content FROM chat_messages WHERE role = 'assistant'") == "Half"
    assert sql.value("SELECT count(*) FROM llm_calls") == 1


async def test_a_turn_with_a_valid_lease_is_not_recovered(pool: Database, sql: Sql) -> None:
    alive, _ = await abandon(pool, sql, sql.value(ADA), 2)
    sql.do(
        "UPDATE chat_messages SET lease_expires_at = now() + interval '1 minute' WHERE uuid = %s", [alive.answer_uuid]
    )
    assert await turn_recovery(pool).recover_batch() == 1
    assert sql.value("SELECT status FROM chat_messages WHERE uuid = %s", [alive.answer_uuid]) == "pending"


async def test_a_lease_renewed_during_recovery_is_respected(pool: Database, sql: Sql) -> None:
    await abandon(pool, sql, sql.value(ADA), 1)

    async def published(_answer: UUID) -> str:
        sql.do("UPDATE chat_messages SET lease_expires_at = now() + interval '1 minute' WHERE status = 'pending'")
        return "Half"

    turns = TurnRecovery(pool, published, UsageEstimate("gpt-primary", 10, price))
    assert await turns.recover_batch() == 0
    assert sql.value(STATUS) == "pending"
    assert sql.value("SELECT count(*) FROM llm_calls") == 0


async def test_expired_leases_are_ignored_just_after_an_outage(
    pool: Database, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    (turn,) = await abandon(pool, sql, sql.value(ADA), 1)
    mine = {"user_id": sql.value("SELECT id FROM users"), "session_uuid": turn.session_uuid}
    monkeypatch.setattr("app.chat.turns.recovery._LEASE_RENEWAL_SECONDS", LONGEST_WAIT)
    with pytest.raises(DatabaseUnavailableError):
        async with pool.autocommit(max_seconds=0.01):
            await asyncio.sleep(1)
    ended_at = time.monotonic()
    assert not turn_recovery(pool).lease_expiry_is_reliable
    assert await turn_recovery(pool).recover_batch() == 0
    assert not await turn_recovery(pool).recover_in_session(**mine)
    assert sql.value(STATUS) == "pending"
    # The time since the end of the outage counts.
    assert 0 < pool.seconds_since_recovery() < time.monotonic() - ended_at
    monkeypatch.setattr("app.chat.turns.recovery._LEASE_RENEWAL_SECONDS", 0.3)
    await eventually(lambda: pool.seconds_since_recovery() > 0.3)
    assert await turn_recovery(pool).recover_in_session(**mine)
    assert sql.value(STATUS) == "interrupted"


async def test_two_concurrent_workers_recover_each_answer_once(
    pool: Database, sql: Sql, settings: Settings, home: Path
) -> None:
    await abandon(pool, sql, sql.value(ADA), 120)
    workers = [WorkerProcess(settings, home, f"worker-{number}") for number in range(2)]
    try:
        Provider.wait_until(lambda: sql.value(NONE_PENDING))
        Provider.wait_until(lambda: sum(worker.recovered_turns() for worker in workers) >= 120)
        assert sum(worker.recovered_turns() for worker in workers) == 120
    finally:
        for worker in workers:
            worker.stop()
    assert sql.value("SELECT count(*) FROM llm_calls") == 120


async def test_concurrent_recovery_and_erasure_do_not_deadlock(pool: Database, sql: Sql) -> None:
    async def remove(table: type[User | ChatSession], key: int) -> None:
        async with pool.transaction() as transaction:
            await transaction.execute(delete(table).where(table.id == key))

    for _ in range(20):
        user = sql.value(ADA)
        session = (await abandon(pool, sql, user, 5))[2].session_id
        # A deadlock raises.
        await asyncio.gather(
            turn_recovery(pool).recover_batch(),
            remove(ChatSession, session),
            turn_recovery(pool).recover_batch(),
            remove(User, user),
        )
    assert sql.value("SELECT count(*) FROM chat_messages") == 0


async def test_recovery_adds_no_ledger_rows_for_an_account_being_erased(pool: Database, sql: Sql) -> None:
    user = sql.value(ADA)
    await abandon(pool, sql, user, 1)
    async with pool.transaction() as transaction:
        await transaction.execute(select(User.id).where(User.id == user).with_for_update())
        recovery = asyncio.create_task(turn_recovery(pool).recover_batch())
        await asyncio.to_thread(sql.wait_for_blocked)
        await transaction.execute(update(LlmCall).values(user_id=None))
        await transaction.execute(delete(User).where(User.id == user))
    assert await recovery == 0
    assert sql.value("SELECT count(*) FROM llm_calls WHERE user_id IS NOT NULL") == 0


def test_a_worker_registers_reports_its_jobs_and_removes_itself(settings: Settings, home: Path, sql: Sql) -> None:
    unused = Database.from_settings(settings, application_name="tests")
    names = {job.name for job in build_jobs(settings, unused, turn_recovery(unused).load_published_text)}
    assert names >= {"settle abandoned turns", "sum up usage", "purge logins"}
    worker = WorkerProcess(settings.model_copy(update={"LOG_LEVEL": "DEBUG"}), home)
    try:
        Provider.wait_until(lambda: names <= jobs_in_log(worker, "job completed"))
        assert sql.value("SELECT count(*) FROM service_instances WHERE service = 'worker'") == 1
        worker.process.terminate()
        Provider.wait_until(lambda: worker.exit_code() is not None)
    finally:
        worker.stop()
    assert sql.value("SELECT count(*) FROM service_instances WHERE service = 'worker'") == 0
    jobs = sql.rows("SELECT name, rounds > 0 AS done, failures > 0 AS has_failed FROM worker_jobs")
    assert names <= {row["name"] for row in jobs if row["done"]}
    # On a busy machine a job may have to wait for the database.
    failed = jobs_in_log(worker, "job failed") | jobs_in_log(worker, "job waiting for database")
    assert {row["name"] for row in jobs if row["has_failed"]} == failed


def jobs_in_log(worker: WorkerProcess, message: str) -> set[str]:
    return {line["job"] for line in worker.log_lines() if line["message"] == message}


def test_a_worker_deletes_sessions_after_the_configured_age(settings: Settings, home: Path, sql: Sql) -> None:
    sql.do(
        "INSERT INTO chat_sessions (uuid, user_id, title, updated_at) SELECT gen_random_uuid(), %s, days::text,"
        " now() - days * interval '1 day' FROM generate_series(0, 4) AS days",
        [sql.value(ADA)],
    )
    worker = WorkerProcess(settings.model_copy(update={"RETENTION_SESSION_DAYS": 3}), home)
    try:
        left = "SELECT string_agg(title, '' ORDER BY title) FROM chat_sessions"
        Provider.wait_until(lambda: sql.value(left) == "012")
    finally:
        worker.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_shuts_down_cleanly_on_a_signal(worker: WorkerProcess, number: signal.Signals) -> None:
    worker.wait_for("worker started")
    worker.process.send_signal(number)
    Provider.wait_until(lambda: worker.exit_code() is not None)
    assert worker.exit_code() == 0
    assert worker.log_lines()[-1]["message"] == "worker stopped"


def test_a_worker_does_not_start_on_an_outdated_schema(settings: Settings, empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url)
    command.downgrade(migrations.alembic_config(empty_database_url), "-1")
    ended = subprocess.run(
        [sys.executable, "-m", "app.worker"],
        cwd=PROJECT,
        env=environment(settings) | {"DATABASE_URL": empty_database_url},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 1
    assert "run `python -m app.cli migrate`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_worker_imports_neither_langgraph_nor_the_model_client() -> None:
    code = "import sys, app.worker.__main__; print(sorted({'langgraph', 'openai', 'fastapi'} & sys.modules.keys()))"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT / "tests",
        env=os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert ended.stdout == "[]\n"


# Insertions of rows that expired up to this many seconds ago.
PURGED = {
    "idempotency keys": """
        INSERT INTO idempotency_keys (user_id, route, key, fingerprint, lease_expires_at, expires_at)
        SELECT %(user)s, 'r', i::text, sha256(''), now(), now() - i * interval '1 second'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
    "one-time tokens": """
        INSERT INTO one_time_tokens (user_id, purpose, token_hash, expires_at)
        SELECT %(user)s, 'verify_email', sha256(i::text::bytea), now() - i * interval '1 second'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
    "throttles": """
        INSERT INTO login_throttles (key, attempts, window_ends_at)
        SELECT i::text, 1, now() - interval '1 day' - i * interval '1 second'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
    "webhook deliveries": """
        INSERT INTO webhook_deliveries (event_id, endpoint_id, type, data, created_at)
        SELECT gen_random_uuid(), %(user)s, 'webhook.test', '{}',
               now() - interval '30 days' - i * interval '1 second'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
    "expired logins": """
        INSERT INTO auth_sessions (uuid, user_id, token_hash, expires_at)
        SELECT gen_random_uuid(), %(user)s, sha256(i::text::bytea),
               now() - interval '30 days' - i * interval '1 second'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
    "revoked logins": """
        INSERT INTO auth_sessions (uuid, user_id, token_hash, expires_at, revoked_at, revoked_reason)
        SELECT gen_random_uuid(), %(user)s, sha256(i::text::bytea), now() + interval '1 hour',
               now() - interval '30 days' - i * interval '1 second', 'logout'
        FROM generate_series(%(from)s, %(to)s) AS i
    """,
}


@pytest.mark.parametrize("what", PURGED)
async def test_expired_rows_are_purged_in_batches(
    pool: Database, sql: Sql, settings: Settings, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(jobs, "_BATCH_SIZE", 2)
    rows = f"SELECT count(*) FROM {PURGED[what].split()[2]}"  # noqa: S608 - one of ours
    user = sql.value(ADA)
    sql.do(PURGED[what], {"user": user, "from": 1, "to": 5})
    sql.do(PURGED[what], {"user": user, "from": -3600, "to": -3598})
    (job,) = [
        job
        for job in build_jobs(settings, pool, turn_recovery(pool).load_published_text)
        if job.name.endswith(what.rpartition(" ")[2])
    ]
    assert await job.run_once() == 5
    assert sql.value(rows) == 3
    assert await job.run_once() == 0
