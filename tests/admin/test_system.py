"""System status: processes, queues and worker jobs."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from app import admin_main
from app.config import Settings
from app.database.schema_version import needed_revision
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, User
from tests.support.provider import Provider


def get_system_status(client: TestClient, admin: User) -> dict[str, Any]:
    response = client.get(f"{ADMIN}/system", headers=admin.headers)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_versions_migrations_database_and_redis_are_shown(
    admin_client: TestClient, admin: User, sql: Sql, settings: Settings
) -> None:
    status = get_system_status(admin_client, admin)
    applied = sql.value("SELECT version_num FROM alembic_version")
    assert status["version"] == settings.VERSION
    assert status["migrations"] == {"needed": applied, "applied": applied, "is_current": True}
    assert needed_revision() == applied
    assert status["database"]["version"] == sql.value("SHOW server_version")
    assert 0 < status["database"]["connections"] <= status["database"]["max_connections"]
    assert status["redis"]["status"] == "up"
    assert status["redis"]["used_memory_bytes"] > 0
    assert settings.DATABASE_URL not in str(status)
    assert settings.REDIS_URL not in str(status)


def test_everything_else_is_returned_without_redis(admin: User, settings: Settings, sql: Sql) -> None:
    without_redis = settings.model_copy(update={"REDIS_URL": "redis://:a-password@127.0.0.1:9/0"})
    with TestClient(admin_main.create(without_redis)) as client:
        status = get_system_status(client, admin)
        assert status["redis"] == {"status": "down", "version": None, "used_memory_bytes": None, "clients": None}
        assert status["migrations"]["is_current"]
        assert "a-password" not in str(status)


def insert_heartbeat(sql: Sql, service: str, seconds_ago: float) -> str:
    """Insert a process whose last heartbeat was `seconds_ago`; return its id."""
    instance = str(uuid4())
    sql.do(
        "INSERT INTO service_instances (id, service, version, host, pid, started_at, seen_at, state)"
        " VALUES (%s, %s, '1', 'h', 7, now() - interval '1 day', now() - %s * interval '1 second', '{\"turns\": 3}')",
        [instance, service, seconds_ago],
    )
    return instance


def test_processes_are_returned_with_statistics_and_silent_ones_as_lost(
    admin_client: TestClient, admin: User, sql: Sql
) -> None:
    alive, silent = insert_heartbeat(sql, "chat", 20), insert_heartbeat(sql, "worker", 60)
    instances = {one["instance_id"]: one for one in get_system_status(admin_client, admin)["instances"]}
    assert instances[alive]["status"] == "up"
    assert instances[alive]["state"] == {"turns": 3}
    assert (instances[silent]["status"], instances[silent]["service"]) == ("lost", "worker")


def test_heartbeats_contain_the_documented_statistics(
    admin_client: TestClient, chat_client: TestClient, admin: User, settings: Settings, sql: Sql
) -> None:
    # Other tests may have further chat services in this process.
    instance = str(chat_client.app_state["resources"].heartbeat.instance.id)

    def statuses() -> list[dict[str, Any]]:
        return [
            one
            for one in get_system_status(admin_client, admin)["instances"]
            if one["instance_id"] == instance
            and one["state"].keys() >= {"database", "redis", "models", "turns", "streams"}
        ]

    Provider.wait_until(lambda: bool(statuses()))
    (chat,) = statuses()
    assert chat["version"] == settings.VERSION
    assert chat["state"]["models"] == {"gpt-primary": "closed", "gpt-fallback": "closed"}
    assert (chat["state"]["turns"], chat["state"]["streams"]) == (0, 0)
    assert chat["state"]["database"]["max"] == settings.DATABASE_POOL_SIZE + settings.DATABASE_MAX_OVERFLOW
    assert chat["state"]["redis"]["is_away"] is False


def test_queue_lengths_are_counted(admin_client: TestClient, admin: User, sql: Sql) -> None:
    sql.do(
        "INSERT INTO outgoing_mails (kind, recipient)"
        " SELECT 'reset_password', 'a@example.com' FROM generate_series(1, 3)"
    )
    sql.do(
        "INSERT INTO chat_sessions (uuid, user_id, title)"
        " SELECT gen_random_uuid(), id, '' FROM users, generate_series(1, 2)"
    )
    sql.do(
        """
        INSERT INTO chat_messages (uuid, session_id, seq, role, content, status, lease_expires_at)
        SELECT gen_random_uuid(), id, 1, 'assistant', '', 'pending',
               now() + (row_number() OVER (ORDER BY id) * 20 - 30) * interval '1 second'
        FROM chat_sessions
        """
    )
    sql.do(
        """
        INSERT INTO llm_calls (turn_id, attempt, model_requested, status, latency_ms)
        SELECT gen_random_uuid(), 1, 'm', 'ok', 1 FROM generate_series(1, 4)
        """
    )
    sql.do(
        """
        INSERT INTO idempotency_keys (user_id, route, key, fingerprint, lease_expires_at, expires_at)
        SELECT users.id, 'r', i::text, sha256(''), now(), now() + i * interval '1 hour'
        FROM users, generate_series(-1, 3) AS i WHERE i <> 0
        """
    )
    # Deliveries to the second endpoint, which is disabled, and the third, which is deleted, do not count.
    sql.do(
        "INSERT INTO webhook_endpoints (id, uuid, url, events, is_enabled)"
        " OVERRIDING SYSTEM VALUE SELECT i, gen_random_uuid(), 'https://hooks.example.com', '{*}', i = 1"
        " FROM generate_series(1, 2) AS i"
    )
    sql.do(
        "INSERT INTO webhook_deliveries (event_id, endpoint_id, type, data, status, next_attempt_at)"
        " SELECT gen_random_uuid(), endpoint, 'webhook.test', '{}', status, due FROM generate_series(1, 3) AS endpoint,"
        " (VALUES ('pending', now()), ('pending', now()), ('delivered', NULL), ('failed', NULL))"
        " AS deliveries (status, due)"
    )
    queues = get_system_status(admin_client, admin)["queues"]
    assert {name: queue["waiting"] for name, queue in queues.items()} == {
        "active_turns": 2,
        "abandoned_turns": 1,
        "usage_pending": 4,
        "search_pending": 2,
        "webhook_deliveries": 2,
        "outgoing_mails": 3,
        "idempotency_keys": 4,
        "expired_idempotency_keys": 1,
        "quota_reservations": 0,
    }
    assert queues["outgoing_mails"]["oldest_at"] is not None
    assert queues["quota_reservations"]["oldest_at"] is None


@pytest.mark.parametrize(
    ("started", "finished", "failed", "status"),
    [
        (1, 1, None, "healthy"),
        (1, 1, 5, "healthy"),
        (1, 5, 1, "failing"),
        (1, None, 1, "failing"),
        (40, 40, None, "healthy"),
        (600, 600, None, "overdue"),
        (600, 601, 600, "overdue"),
    ],
)
def test_a_job_is_healthy_or_failing_or_overdue(
    admin_client: TestClient, admin: User, sql: Sql, started: int, finished: int | None, failed: int | None, status: str
) -> None:
    sql.do(
        """
        INSERT INTO worker_jobs (name, interval_seconds, rounds, failures, handled, instance_id, started_at,
                                 finished_at, failed_at, error)
        VALUES ('sweep', 10, 7, 2, 5, %s, now() - %s * interval '1 second', now() - %s * interval '1 second',
                now() - %s * interval '1 second', 'SomeError')
        """,
        [UUID(int=7), started, finished, failed],
    )
    (job,) = [job for job in get_system_status(admin_client, admin)["jobs"] if job["name"] == "sweep"]
    assert job["status"] == status
    assert (job["rounds"], job["failures"], job["handled"]) == (7, 2, 5)
