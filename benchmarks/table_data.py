"""Clusters with a large table: the audit log, the webhook deliveries or the ledger, filled in bulk."""

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from psycopg2.extras import register_uuid

from app.config import Settings
from benchmarks import query_plans
from benchmarks.conversation_system import FILL_OPTIONS
from benchmarks.stack import temporary_home
from local.postgres import Postgres
from local.services import Migrations

ACCOUNTS: Final = 5000
SESSIONS: Final = 200_000
ENDPOINTS: Final = 10
SPAN: Final = timedelta(days=60)
"""Period of the rows. With the default retention of 30 days, the older half of the deliveries has expired."""
_BATCHES: Final = 50
_OPTIONS: Final = {"max_wal_size": "4GB"}
"""Settings of the server that is measured, apart from those of the local stack. Of PostgreSQL, the default is 1GB."""

# Data of an event `turn.completed`, and the log of a successful delivery.
EVENT_DATA: Final = {
    "message_id": "01936f6e-0000-7000-8000-000000000001",
    "session_id": "01936f6e-0000-7000-8000-000000000002",
    "user_id": "01936f6e-0000-7000-8000-000000000003",
    "status": "complete",
    "model_requested": "gpt-4o-mini",
    "model_used": "gpt-4o-mini-2024-07-18",
    "fallback_model": None,
    "cached": False,
    "attempts": 1,
    "tokens_used": {"prompt": 812, "completion": 325, "total": 1137},
    "tokens_estimated": False,
    "cost_usd": "0.000316800",
    "first_token_ms": 420,
    "error": None,
    "processing_time_ms": 7312,
}
DELIVERY_LOG: Final = [
    {
        "at": "2026-12-01T08:00:00.000000+00:00",
        "attempt": 1,
        "request": {
            "method": "POST",
            "headers": {
                "content-type": "application/json",
                "user-agent": "Chat-Bot-System-Webhooks/1",
                "webhook-id": "01936f6e-0000-7000-8000-000000000004",
                "webhook-timestamp": "1796112000",
            },
        },
        "response": {
            "status": 200,
            "headers": [
                ["Server", "nginx"],
                ["Date", "Tue, 01 Dec 2026 08:00:00 GMT"],
                ["Content-Type", "text/plain; charset=utf-8"],
                ["Content-Length", "2"],
                ["Connection", "keep-alive"],
            ],
        },
        "duration_ms": 84,
        "error_code": None,
    }
]

_COMMON = """
INSERT INTO users (uuid, email, username, password_hash, created_at)
SELECT uuidv7(), 'u' || n || '@example.com', 'u' || n, '', now() - interval '1 year'
FROM generate_series(1, %(accounts)s) AS n;
INSERT INTO webhook_endpoints (uuid, url, events)
SELECT uuidv7(), 'https://example.com/' || n,
    CASE n WHEN 1 THEN ARRAY['turn.completed'] ELSE ARRAY['user.erased'] END
FROM generate_series(1, %(endpoints)s) AS n;
CREATE TEMPORARY TABLE accounts AS SELECT row_number() OVER (ORDER BY id)::int AS number, id, uuid FROM users;
ANALYZE accounts;
"""
# The time of a row increases with its number, which begins at 0. Activity is skewed towards few accounts.
_ROWS = """
    SELECT n, now() - %(span)s + (n + 1) * (%(span)s / %(rows)s) AS at,
        1 + floor(%(accounts)s * power(random(), 2))::int AS account, random() AS roll
    FROM generate_series(%(from)s, %(to)s - 1) AS n
"""
_AUDIT = f"""
INSERT INTO audit_log (actor_id, action, outcome, target_id, ip, request_id, details, created_at)
SELECT CASE WHEN action = 'login.failed' THEN NULL ELSE uuid END, action,
    CASE WHEN action = 'login.failed' THEN 'refused' ELSE 'done' END, uuid,
    '10.0.0.0'::inet + account, replace(gen_random_uuid()::text, '-', ''),
    CASE WHEN action = 'login.failed' THEN '{{"reason": "credentials"}}'
        WHEN action = 'user.updated' THEN '{{"changed": ["is_active"], "before": {{"role": "user", "is_active": true}},
            "after": {{"role": "user", "is_active": false}}}}'
        ELSE '{{}}' END::jsonb, at
FROM (
    SELECT *, CASE WHEN roll < 0.5 THEN 'login.opened' WHEN roll < 0.8 THEN 'login.ended'
        WHEN roll < 0.95 THEN 'login.failed' WHEN roll < 0.99 THEN 'profile.updated'
        WHEN roll < 0.999 THEN 'user.updated' ELSE 'session.read' END AS action
    FROM ({_ROWS}) AS number
) AS row JOIN accounts ON accounts.number = row.account
"""  # noqa: S608 - no data of users
# One delivery of 200 has failed after its last attempt.
_DELIVERIES = f"""
INSERT INTO webhook_deliveries (event_id, endpoint_id, user_id, type, data, status, attempts, next_attempt_at,
    response_status, error_code, log, created_at)
SELECT uuidv7(at - now()), (SELECT min(id) FROM webhook_endpoints) + n %% %(endpoints)s, accounts.id, 'turn.completed',
    %(data)s::jsonb, CASE WHEN roll < 0.005 THEN 'failed' ELSE 'delivered' END,
    CASE WHEN roll < 0.005 THEN 11 ELSE 1 END, NULL, CASE WHEN roll < 0.005 THEN 500 ELSE 200 END,
    CASE WHEN roll < 0.005 THEN 'status' END, %(log)s::jsonb, at
FROM ({_ROWS}) AS row JOIN accounts ON accounts.number = row.account
"""  # noqa: S608
_CALLS = f"""
INSERT INTO llm_calls (turn_id, attempt, user_id, session_id, model_requested, model_used, status, error_code, purpose,
    prompt_tokens, completion_tokens, cost_usd, latency_ms, first_token_ms, provider, created_at)
SELECT uuidv7(at - now()), 1, accounts.id, 1 + floor(random() * %(sessions)s), 'gpt-4o-mini', 'gpt-4o-mini-2024-07-18',
    CASE WHEN roll < 0.02 THEN 'error' WHEN roll < 0.04 THEN 'cancelled' ELSE 'ok' END,
    CASE WHEN roll < 0.02 THEN 'provider_timeout' END, CASE WHEN n %% 25 = 0 THEN 'summary' ELSE 'answer' END,
    200 + n %% 800, n %% 400, 0.0001 * (n %% 100), 2000 + n %% 9000, 200 + n %% 900, 'default', at
FROM ({_ROWS}) AS row JOIN accounts ON accounts.number = row.account
"""  # noqa: S608
_INSERTS: Final = {"audit_log": _AUDIT, "webhook_deliveries": _DELIVERIES, "llm_calls": _CALLS}


# Statements that drop and create each index; constraints first.
_INDEX_DEFINITIONS: Final = """
SELECT CASE WHEN conname IS NULL THEN format('DROP INDEX %%s', indexrelid::regclass)
        ELSE format('ALTER TABLE %%s DROP CONSTRAINT %%I', indrelid::regclass, conname) END,
    CASE WHEN conname IS NULL THEN pg_get_indexdef(indexrelid)
        ELSE format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', indrelid::regclass, conname,
            pg_get_constraintdef(c.oid)) END
FROM pg_index LEFT JOIN pg_constraint c ON conindid = indexrelid AND conrelid = indrelid
WHERE indrelid = %(table)s::regclass ORDER BY conname IS NULL
"""


@dataclass(frozen=True)
class FilledCluster:
    """A running server with a large table."""

    server: Postgres
    superuser: Any
    """Connection in autocommit mode."""
    fill_seconds: float

    def rows(self, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401 - as of psycopg2
        """Execute a statement as superuser, and return its rows."""
        return execute(self.superuser, statement, parameters)

    def value(self, statement: str, parameters: Any = ()) -> Any:  # noqa: ANN401
        """Execute a statement as superuser, and return its only value."""
        ((value,),) = self.rows(statement, parameters)
        return value


@contextmanager
def filled_cluster(table: str, rows: int, *, scratch: str | None = None) -> Iterator[FilledCluster]:
    """Create a cluster with the schema of the services and a filled table, and start it as the local stack does.

    `scratch`: statements that are executed after the table was filled, in a transaction.
    """
    with temporary_home() as home:
        server = Postgres(home, options=FILL_OPTIONS)
        server.start()
        try:
            environment = {name: value for name, value in os.environ.items() if name not in Settings.model_fields}
            database = {
                "DATABASE_URL": server.service_url(),
                "MIGRATION_DATABASE_URL": server.url(),
                "SECRET_KEY": secrets.token_hex(),
            }
            Migrations(home, environment | database).start()
            with closing(query_plans.connect_superuser(server)) as superuser:
                started = time.monotonic()
                _fill(superuser, table, rows)
                if scratch is not None:
                    execute(superuser, f"BEGIN; {scratch}; COMMIT")
                execute(superuser, "VACUUM ANALYZE")
                fill_seconds = time.monotonic() - started
                execute(superuser, "CHECKPOINT")
        finally:
            server.stop()
        server = Postgres(home, options=_OPTIONS)
        server.start()
        try:
            with closing(query_plans.connect_superuser(server)) as superuser:
                register_uuid(conn_or_curs=superuser)
                yield FilledCluster(server, superuser, fill_seconds)
        finally:
            server.stop()


def execute(connection: Any, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401
    """Execute a statement with psycopg2, and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def _fill(connection: Any, table: str, rows: int) -> None:  # noqa: ANN401
    parameters = {
        "accounts": ACCOUNTS,
        "data": json.dumps(EVENT_DATA),
        "endpoints": ENDPOINTS,
        "log": json.dumps(DELIVERY_LOG),
        "rows": rows,
        "sessions": SESSIONS,
        "span": SPAN,
    }
    execute(connection, _COMMON, parameters)
    # In the transaction of TRUNCATE, nothing is written to the WAL (`wal_level` is `minimal`). Without triggers,
    # nothing is queued for the roll-ups. Indexes are built at the end, because inserting into them takes three times as
    # long.
    definitions = execute(connection, _INDEX_DEFINITIONS, {"table": table})
    execute(connection, f"SET maintenance_work_mem = '1GB'; BEGIN; ALTER TABLE {table} DISABLE TRIGGER USER")
    execute(connection, f"TRUNCATE {table}")
    for drop, _ in definitions:
        execute(connection, drop)
    for batch in range(_BATCHES):
        bounds = {"from": rows * batch // _BATCHES, "to": rows * (batch + 1) // _BATCHES}
        execute(connection, _INSERTS[table], parameters | bounds)
    for _, create in definitions:
        execute(connection, create)
    always = [name for name in _ALWAYS if name.startswith(table)]
    triggers = [f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}" for name in always]
    execute(connection, "; ".join([f"ALTER TABLE {table} ENABLE TRIGGER USER", *triggers, "COMMIT"]))


_ALWAYS: Final = ("audit_log_append_only", "llm_calls_append_only", "llm_calls_update_anonymises")
"""Triggers that also fire in a session with `session_replication_role = replica`."""
