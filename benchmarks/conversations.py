"""Benchmark of lists, reading, search and questions, with little and with much data of other users, side by side.

`BENCH_SESSIONS` is the number of sessions of the large system, with ten messages each on average.
"""

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks import query_plans
from benchmarks.conversation_data import RARE_WORD, ConversationWriter, DataSize
from benchmarks.conversation_texts import CHINESE_WORD, COMMON_WORD
from benchmarks.stack import running_stack
from local.stack import Stack

SMALL: Final = 1000
LARGE: Final = int(os.environ.get("BENCH_SESSIONS", "1_000_000"))
PLANS = Path(__file__).parents[1] / "docs" / "benchmarks" / "conversation-plans.md"
_REQUESTS: Final = 200
_WARM_UP: Final = 20
_MAX_RATIO: Final = 1.3
"""Limit for the ratio of the 95th percentiles."""
_LIMIT_MS: Final = 150
"""Limit for the 95th percentile of searches of the heavy user."""
_TABLES = ("chat_sessions", "chat_messages", "search_documents")


@dataclass(frozen=True)
class User:
    """A logged-in user of one of the systems."""

    client: httpx.Client
    sessions: list[tuple[str, str]]
    """Public ids of sessions and of their newest messages."""
    source: random.Random

    def session(self) -> str:
        """Return the id of a random session."""
        return self.session_and_message()[0]

    def session_and_message(self) -> tuple[str, str]:
        """Return the id of a random session, and of its newest message when the benchmark began."""
        return self.source.choice(self.sessions)


def _get(user: User, path: str, **parameters: str | int) -> None:
    user.client.get(path, params=parameters).raise_for_status()


def _open(user: User) -> None:
    user.client.get(f"sessions/{user.session()}").raise_for_status()


def _older_page(user: User) -> None:
    session, message = user.session_and_message()
    user.client.get(f"sessions/{session}/messages", params={"before": message}).raise_for_status()


def _switch(user: User) -> None:
    session, message = user.session_and_message()
    user.client.put(f"sessions/{session}/active", json={"message_id": message}).raise_for_status()


def _send(user: User) -> None:
    question = {"message": f"{COMMON_WORD} {user.source.getrandbits(64)}"}
    user.client.post(f"sessions/{user.session()}/messages", json=question).raise_for_status()


OPERATIONS: Mapping[str, Callable[[User], None]] = {
    "list": partial(_get, path="sessions"),
    "list, page 5": partial(_get, path="sessions", page=5),
    "list with search": partial(_get, path="sessions", search=COMMON_WORD),
    "open": _open,
    "older page": _older_page,
    "switch": _switch,
    "search, rare word": partial(_get, path="search", q=RARE_WORD),
    "search, common word": partial(_get, path="search", q=COMMON_WORD),
    "search, Chinese": partial(_get, path="search", q=CHINESE_WORD),
    "search, typing error": partial(_get, path="search", q=RARE_WORD[:-2] + RARE_WORD[-1]),
    "search while typing": partial(_get, path="search", q=COMMON_WORD[:2]),
    "send": _send,
}


@dataclass(frozen=True)
class System:
    """A running system with its users."""

    reader: User
    heavy: User
    superuser: Any
    log: Path
    fill_seconds: float


@dataclass(frozen=True)
class Percentiles:
    """Response times of an operation in milliseconds."""

    p50: float
    p95: float


def conversations(small: int = SMALL, large: int = LARGE, requests: int = _REQUESTS) -> str:
    """Run the benchmark, write the page of query plans, and return the report."""
    with _system(small) as little, _system(large) as much:
        users = (little.reader, much.reader, much.heavy)
        measured = {title: _measure(users, operation, requests) for title, operation in OPERATIONS.items()}
        sizes = _sizes(much.superuser)
        query_plans.enable(much.superuser)
        plans = {
            f"{title}, {name}": query_plans.slowest(partial(operation, user), much.log)
            for title, operation in OPERATIONS.items()
            for name, user in (("reader", much.reader), ("heavy user", much.heavy))
        }
    PLANS.write_text(_page(plans, large))
    return _report(measured, sizes, small=small, large=large, requests=requests, fill_seconds=much.fill_seconds)


@contextmanager
def _system(sessions: int) -> Iterator[System]:
    with ExitStack() as exits:
        url, superuser, log = exits.enter_context(query_plans.postgres_with_auto_explain())
        # Filling the tables takes longer than an access token is valid by default.
        stack = exits.enter_context(running_stack({"DATABASE_URL": url, "ACCESS_TOKEN_EXPIRE_MINUTES": "600"}))
        writer = ConversationWriter(superuser, DataSize(sessions))
        started = time.monotonic()
        writer.fill()
        fill_seconds = time.monotonic() - started
        # The password of the admin, whose hash takes long to compute.
        _execute(
            superuser,
            "UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE role = 'admin')"
            " WHERE id = ANY(%s)",
            [[writer.reader_id, writer.heavy_id]],
        )
        reader, heavy = (
            exits.enter_context(_user(stack, superuser, user_id)) for user_id in (writer.reader_id, writer.heavy_id)
        )
        yield System(reader, heavy, superuser, log, fill_seconds)


@contextmanager
def _user(stack: Stack, superuser: Any, user_id: int) -> Iterator[User]:  # noqa: ANN401 - psycopg2 has no types
    """Log in a user; yield a client of the chat service, without Nginx."""
    ((username,),) = _execute(superuser, "SELECT username FROM users WHERE id = %s", [user_id])
    sessions = _execute(
        superuser,
        "SELECT s.uuid::text, m.uuid::text FROM chat_sessions s"
        " JOIN chat_messages m ON m.session_id = s.id AND m.seq = s.last_seq WHERE s.user_id = %s ORDER BY s.id",
        [user_id],
    )
    account = {"username": username, "password": stack.first_admin.password_file.read_text().strip()}
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        login = client.post("/api/v1/auth/login", data=account).raise_for_status().json()
    headers = {"Authorization": f"Bearer {login['access_token']}"}
    url = f"http://127.0.0.1:{stack.ports.chat}/api/v1/chat/"
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        yield User(client, [(session, message) for session, message in sessions], random.Random(1))  # noqa: S311 - not a secret


def _measure(users: tuple[User, ...], operation: Callable[[User], None], requests: int) -> list[Percentiles]:
    """Return the response times of each user. Requests of the users alternate, so that load affects all of them."""
    seconds: list[list[float]] = [[] for _ in users]
    for number in range(_WARM_UP + requests):
        for user, times in zip(users, seconds, strict=True):
            started = time.perf_counter()
            operation(user)
            if number >= _WARM_UP:
                times.append((time.perf_counter() - started) * 1000)
    return [Percentiles(statistics.median(times), sorted(times)[len(times) * 95 // 100]) for times in seconds]


def _sizes(superuser: Any) -> list[tuple[str, int, str, str]]:  # noqa: ANN401
    """Return the number of rows of each table, and the sizes of the table and of its indexes."""
    size = "SELECT count(*), pg_size_pretty(pg_table_size('{0}')), pg_size_pretty(pg_indexes_size('{0}')) FROM {0}"
    return [(table, *_execute(superuser, size.format(table))[0]) for table in _TABLES]


def _page(plans: Mapping[str, str], sessions: int) -> str:
    source = (
        f"Written by `make bench BENCH=conversations` with {sessions:,} sessions. See [benchmarks](../benchmarks.md)."
    )
    lines = ["# Query plans of conversations", "", source]
    for title, plan in plans.items():
        lines += ["", f"## {title[:1].upper()}{title[1:]}", "", "```", plan, "```"]
    return "\n".join(lines) + "\n"


def _report(
    measured: Mapping[str, list[Percentiles]],
    sizes: list[tuple[str, int, str, str]],
    *,
    small: int,
    large: int,
    requests: int,
    fill_seconds: float,
) -> str:
    heavy = DataSize(large).heavy_messages
    introduction = (
        f"{requests} sequential requests per operation and user, alternately, to the chat service without Nginx. The "
        f"reader has the same 200 sessions in both systems. The limits are a ratio of {_MAX_RATIO} (p95), and "
        f"{_LIMIT_MS} ms (p95) for searches of the heavy user, who has {heavy:,} messages."
    )
    lines = [
        introduction,
        "",
        f"| | {small:,} sessions: p50 | p95 | {large:,} sessions: p50 | p95 | ratio of p95 | heavy user: p50 | p95 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, (little, much, own) in measured.items():
        ratio = much.p95 / little.p95
        verdict = f"{ratio:.2f}" if ratio <= _MAX_RATIO else f"**{ratio:.2f}**"
        over = "search" in title and own.p95 > _LIMIT_MS
        heavy_p95 = f"**{own.p95:.1f} ms**" if over else f"{own.p95:.1f} ms"
        lines.append(
            f"| {title} | {little.p50:.1f} ms | {little.p95:.1f} ms | {much.p50:.1f} ms | {much.p95:.1f} ms"
            f" | {verdict} | {own.p50:.1f} ms | {heavy_p95} |"
        )
    lines += ["", "| Table | rows | size | indexes |", "|---|---|---|---|"]
    lines += [f"| `{table}` | {rows:,} | {size} | {indexes} |" for table, rows, size, indexes in sizes]
    return "\n".join([*lines, "", f"Filling the tables took {fill_seconds / 60:.1f} minutes."])


def _execute(connection: Any, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []
