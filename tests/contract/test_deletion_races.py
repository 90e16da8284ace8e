"""Requests while the rows that they refer to are deleted: success, 401, 404 or 409, never 500.

Each operation that writes runs in two orders against each table that it may refer to. Real transactions of PostgreSQL
hold each other up, so every run takes the order that its name says.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from httpx2 import Response

from app.database import models
from tests.fixtures.database import Sql
from tests.fixtures.world import World
from tests.support.access import ENTRIES
from tests.support.operations import OPERATIONS, Operation
from tests.support.provider import Provider, answers
from tests.support.waiting import wait_until

GATE = 7_302_195
"""Key of the advisory lock for which insertions wait."""
TABLES_OF_IDS = {
    "session_id": ("chat_sessions", "chat_messages"),
    "message_id": ("chat_messages",),
    "share_id": ("chat_shares",),
    "webhook_id": ("webhook_endpoints",),
    "delivery_id": ("webhook_deliveries",),
    "invitation_id": ("invitations",),
    "key_id": ("api_keys",),
    "token": ("chat_shares",),
}
CHILDREN = sorted({table.name for table in models.User.metadata.sorted_tables if table.foreign_keys})
KEYED = {"chat.send_message", "chat.direct_chat", "chat.create_session"}


def parents(operation: Operation) -> list[str]:
    named = [table for name in operation.ids for table in TABLES_OF_IDS.get(name, ())]
    if operation.name in {"remove_login", "logout", "refresh"}:
        named = ["auth_sessions"]
    if operation.name in {"reset_password", "verify_email"}:
        named = ["one_time_tokens"]
    if operation.name in {"delete_sessions", "archive_sessions", "copy_share"}:
        named = ["chat_sessions", "chat_shares"]
    return sorted({"users", *named})


CASES = [
    pytest.param(operation, table, with_key, id=f"{key}{'-with-key' if with_key else ''}-{table}")
    for key, operation in OPERATIONS.items()
    if operation.method not in {"get", "GET"} and key not in {"auth.forgot_password", "auth.resend_verification"}
    for table in parents(operation)
    for with_key in ({False, key in KEYED})
]


@contextmanager
def transaction(url: str) -> Iterator[Any]:
    connection = psycopg2.connect(url, options="-c statement_timeout=60s")
    try:
        yield connection.cursor()
    finally:
        connection.close()


def request(world: World, operation: Operation, *, with_key: bool) -> Callable[[], Response]:
    """Prepare a valid request of the operation, and return the function that sends it."""
    entry = ENTRIES[operation.key]
    caller = world.admin if entry.who == "admin" else world.owner
    owner = world.owner
    ids, body = entry.ids(world, owner), entry.body(world, owner)
    content: dict[str, Any] = {} if body is None else {("data" if operation.takes_form else "json"): body}
    headers = caller.headers | ({"Idempotency-Key": "race"} if with_key else {})
    path = operation.path.format_map(ids)
    client = world.services[operation.service]
    return lambda: client.request(operation.method, path, params=operation.required_query, headers=headers, **content)


def ended_or_blocked(sql: Sql, response: Future[Any]) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    wait_until(lambda: response.done() or sql.value(waiting))


def assert_honest(response: Response, operation: Operation, expected: int) -> None:
    # 503 and 400: what some operations of the table answer here also without a race.
    assert response.status_code in {expected, 200, 400, 401, 404, 409}, response.text
    if "text/event-stream" in response.headers.get("Content-Type", ""):
        assert "internal_error" not in response.text
    assert response.status_code in operation.statuses | {401, 404}


@pytest.fixture
def deletable(world: World, provider: Provider) -> World:
    provider.always(answers("Hello"))
    return world


def deletion(table: str, world: World) -> tuple[str, Mapping[str, Any]]:
    if table == "users":
        return "DELETE FROM users WHERE uuid = %(user)s", {"user": world.owner.id}
    # As every deletion of the application: the session is locked before its messages.
    lock = "SELECT id FROM chat_sessions ORDER BY id FOR UPDATE; " if table == "chat_messages" else ""
    return f"{lock}DELETE FROM {table}", {}  # noqa: S608 - a constant


JOBS = ("roll_up", "index_texts")


@pytest.fixture
def job(
    request: pytest.FixtureRequest,
    deletable: World,
    roll_up: Callable[[int], int],
    index_texts: Callable[[], int],
) -> Callable[[], int]:
    """A job of the worker, with rows to process."""
    chat = deletable.chat(deletable.owner)
    chat.ask(chat.open(title="Plans"), "Hi")
    jobs = {"roll_up": lambda: roll_up(100), "index_texts": index_texts}
    return jobs[request.param]


@pytest.mark.parametrize("table", ["users", "chat_sessions", "chat_messages"])
@pytest.mark.parametrize("job", JOBS, indirect=True)
def test_job_during_a_deletion(
    deletable: World, sql: Sql, database_url: str, job: Callable[[], int], table: str
) -> None:
    with ThreadPoolExecutor(1) as pool, transaction(database_url) as deleter:
        deleter.execute(*deletion(table, deletable))
        run = pool.submit(job)
        try:
            ended_or_blocked(sql, run)
        finally:
            deleter.connection.commit()
        run.result(60)
    job()  # what could not be processed is not left in the queue
    assert sql.value("SELECT count(*) FROM search_pending") + sql.value("SELECT count(*) FROM usage_pending") <= 3


@pytest.mark.parametrize("table", ["users", "chat_sessions", "chat_messages"])
@pytest.mark.parametrize("job", JOBS, indirect=True)
def test_deletion_during_a_job(
    deletable: World, sql: Sql, database_url: str, job: Callable[[], int], gate: None, table: str
) -> None:
    statement, values = deletion(table, deletable)
    with ThreadPoolExecutor(2) as pool, transaction(database_url) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [GATE])
        run = pool.submit(job)
        ended_or_blocked(sql, run)
        deleted = pool.submit(sql.do, statement, values)
        with transaction(database_url) as watcher:

            def is_blocked_or_done() -> bool:
                watcher.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                return deleted.done() or watcher.fetchone()[0] >= 2

            wait_until(is_blocked_or_done)
        holder.execute("SELECT pg_advisory_unlock(%s)", [GATE])
        run.result(60)
        deleted.result(60)


@pytest.mark.parametrize(("operation", "table", "with_key"), CASES)
def test_request_waits_for_a_deletion(
    deletable: World, sql: Sql, database_url: str, operation: Operation, table: str, *, with_key: bool
) -> None:
    send = request(deletable, operation, with_key=with_key)
    with ThreadPoolExecutor(1) as pool, transaction(database_url) as deleter:
        deleter.execute(*deletion(table, deletable))
        response = pool.submit(send)
        try:
            ended_or_blocked(sql, response)
        finally:
            deleter.connection.commit()
        assert_honest(response.result(60), operation, ENTRIES[operation.key].status)


@pytest.fixture
def gate(sql: Sql) -> Iterator[None]:
    """Insertions into all tables with foreign keys wait for the advisory lock `GATE`."""
    sql.do(
        f"""
        CREATE OR REPLACE FUNCTION wait_for_gate() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END'
        """
    )
    for table in CHILDREN:
        sql.do(f"CREATE TRIGGER a_gate BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION wait_for_gate()")
    yield
    sql.do("DROP FUNCTION wait_for_gate CASCADE")


@pytest.mark.parametrize(("operation", "table", "with_key"), CASES)
def test_deletion_during_an_insertion(
    deletable: World, sql: Sql, database_url: str, gate: None, operation: Operation, table: str, *, with_key: bool
) -> None:
    send = request(deletable, operation, with_key=with_key)
    statement, values = deletion(table, deletable)
    with ThreadPoolExecutor(2) as pool, transaction(database_url) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [GATE])
        response = pool.submit(send)
        ended_or_blocked(sql, response)
        if response.done():
            holder.execute("SELECT pg_advisory_unlock(%s)", [GATE])
            assert_honest(response.result(), operation, ENTRIES[operation.key].status)
            return
        deleted = pool.submit(sql.do, statement, values)
        # Either the deletion succeeds, or it waits for the request as the request waits for the gate.
        with transaction(database_url) as watcher:

            def is_blocked_or_done() -> bool:
                watcher.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                return deleted.done() or watcher.fetchone()[0] >= 2

            wait_until(is_blocked_or_done)
        holder.execute("SELECT pg_advisory_unlock(%s)", [GATE])
        assert_honest(response.result(60), operation, ENTRIES[operation.key].status)
        deleted.result(60)
