"""Deletions between the statements of a request: success, 401, 404 or 409, never 500.

`test_deletion_races.py` runs requests and deletions that wait for each other. Here a deletion commits before each
statement of an operation in turn, unless the operation holds a lock against it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg2
import pytest
from psycopg2.errors import LockNotAvailable
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.exceptions import NotFoundError, UnauthorizedError
from app.database import statements
from app.database.statements import AnyConnection, Row, Statement
from tests.contract.test_deletion_races import assert_honest, deletion, parents, request
from tests.fixtures.database import empty
from tests.fixtures.services import User
from tests.fixtures.world import World
from tests.support.access import ENTRIES
from tests.support.operations import OPERATIONS, Operation
from tests.support.provider import Provider, answers

MAX_STATEMENTS = 60


class Intruder:
    """Runs a statement of another transaction before the n-th statement of what is tested."""

    def __init__(self, url: str, statement: str, values: Mapping[str, Any]) -> None:
        self._url, self._statement, self._values = url, statement, values
        self.position = -1
        """Number of the statement; negative: none."""
        self.count = 0

    def before_statement(self) -> None:
        if self.position < 0:
            return
        self.count += 1
        if self.count != self.position:
            return
        connection = psycopg2.connect(self._url, options="-c lock_timeout=250ms")
        with closing(connection), suppress(LockNotAvailable), connection, connection.cursor() as cursor:
            cursor.execute(self._statement, self._values)


@contextmanager
def intruding(monkeypatch: pytest.MonkeyPatch, intruder: Intruder) -> Iterator[None]:
    def before(*_args: object) -> None:
        intruder.before_statement()

    fetch = statements.fetch

    async def patched(
        connection: AnyConnection, statement: Statement, parameters: Mapping[str, object]
    ) -> Sequence[Row]:
        if not isinstance(connection, AsyncConnection):
            intruder.before_statement()
        return await fetch(connection, statement, parameters)

    monkeypatch.setattr(statements, "fetch", patched)
    event.listen(Engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", before)


@pytest.fixture
def restart(world: World, make_user: Callable[[str], User]) -> Callable[[], World]:
    """Function that makes the world anew."""

    def make() -> World:
        empty(world.sql)
        users = {name: make_user(name) for name in ("ada", "bob", "root")}
        world.sql.do("UPDATE users SET role = 'admin' WHERE uuid = %s", [users["root"].id])
        return replace(world, owner=users["ada"], other=users["bob"], admin=users["root"])

    return make


WITHOUT_ROWS = {"auth.forgot_password", "auth.resend_verification", "auth.invite_user", "auth.send_password_reset"}
"""Operations that need a mail server."""
LONG_READS = {"auth.export_account", "chat.export_session", "chat.export_sessions", "chat.search_conversations"}
KEYED = {"chat.send_message", "chat.direct_chat", "chat.create_session", "chat.duplicate_session", "chat.copy_share"}
CASES = [
    pytest.param(operation, table, with_key, id=f"{key}{'-with-key' if with_key else ''}-{table}")
    for key, operation in OPERATIONS.items()
    if (operation.method not in {"get", "GET"} and key not in WITHOUT_ROWS) or key in LONG_READS
    for table in parents(operation)
    for with_key in ({False, key in KEYED})
]


@pytest.mark.parametrize(("operation", "table", "with_key"), CASES)
def test_deletion_between_statements(
    world: World,
    provider: Provider,
    database_url: str,
    operation: Operation,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    restart: Callable[[], World],
    *,
    with_key: bool,
) -> None:
    for position in range(1, MAX_STATEMENTS):
        if position > 1:
            world = restart()
        provider.always(answers("Hello"))
        send = request(world, operation, with_key=with_key)
        intruder = Intruder(database_url, *deletion(table, world))
        with intruding(monkeypatch, intruder):
            intruder.position = position
            try:
                response = send()
            except RuntimeError as error:
                # The response had begun, so it is aborted.
                assert isinstance(error.__cause__, NotFoundError | UnauthorizedError)  # noqa: PT017 - or a response
            else:
                assert_honest(response, operation, ENTRIES[operation.key].status)
            finally:
                intruder.position = -1
        if intruder.count < position:
            return
    pytest.fail("more statements than expected")
