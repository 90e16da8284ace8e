"""Benchmark of lists, reading, search and questions, with little and with much data of other users, side by side.

`BENCH_SESSIONS` is the number of sessions of the large system, with ten messages each on average.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import query_plans
from benchmarks.conversation_data import RARE_WORD, DataSize
from benchmarks.conversation_system import System, User, execute, running_system
from benchmarks.conversation_texts import CHINESE_WORD, COMMON_WORD, FREQUENT_WORD, LONG_WORD, misspell
from local.postgres import Postgres

SMALL: Final = 1000
LARGE: Final = int(os.environ.get("BENCH_SESSIONS", "1_000_000"))
PLANS = Path(__file__).parents[1] / "docs" / "reference" / "benchmarks" / "conversation-plans.md"
_REQUESTS: Final = 200
_WARM_UP: Final = 20
_COLD_REQUESTS: Final = 3
_MAX_RATIO: Final = 1.3
"""Limit for the ratio of the 95th percentiles."""
_LIMIT_MS: Final = 150
"""Limit for the 95th percentile of searches of the heavy user."""
_TABLES = ("chat_sessions", "chat_messages", "search_documents")


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
    "search, two words": partial(_get, path="search", q=f"{FREQUENT_WORD} {COMMON_WORD}"),
    "search, phrase": partial(_get, path="search", q=f'"{FREQUENT_WORD} {COMMON_WORD}"'),
    "search, typing error": partial(_get, path="search", q=misspell(RARE_WORD)),
    "search, typing errors in two words": partial(
        _get, path="search", q=f"{misspell(RARE_WORD)} {misspell(COMMON_WORD)}"
    ),
    "search, typing errors in frequent words": partial(
        _get, path="search", q=f"{misspell(LONG_WORD)} {misspell(COMMON_WORD)}"
    ),
    "search while typing": partial(_get, path="search", q=COMMON_WORD[:2]),
    "send": _send,
}


@dataclass(frozen=True)
class Percentiles:
    """Response times of an operation in milliseconds."""

    p50: float
    p95: float


@dataclass(frozen=True)
class _Data:
    """What the requests were measured with."""

    small: int
    large: int
    requests: int
    cold_requests: int
    fill_seconds: float


def conversations(
    small: int = SMALL, large: int = LARGE, requests: int = _REQUESTS, cold_requests: int = _COLD_REQUESTS
) -> str:
    """Run the benchmark, write the page of query plans, and return the report."""
    # The large system first: filling it takes long, and the services of the other one would run meanwhile.
    with running_system(large) as much, running_system(small) as little:
        users = (little.reader, much.reader, much.heavy)
        measured = {title: _measure(users, operation, requests) for title, operation in OPERATIONS.items()}
        cold = {title: _measure_cold(much, operation, cold_requests) for title, operation in OPERATIONS.items()}
        sizes = _sizes(much.server)
        with closing(query_plans.connect_superuser(much.server)) as superuser:
            query_plans.enable(superuser)
        plans = {
            f"{title}, {name}": query_plans.slowest(partial(operation, user), much.log)
            for title, operation in OPERATIONS.items()
            for name, user in (("reader", much.reader), ("heavy user", much.heavy))
        }
    PLANS.write_text(_page(plans, large))
    data = _Data(small, large, requests, cold_requests, much.fill_seconds)
    return _report(measured, cold, sizes, data)


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


def _measure_cold(system: System, operation: Callable[[User], None], requests: int) -> float:
    """Return the longest time in milliseconds of the heavy user's first request after emptying the caches.

    Without `requests`, which a test leaves out because each restarts PostgreSQL: NaN.
    """
    times = []
    for _ in range(requests):
        system.empty_caches()
        started = time.perf_counter()
        operation(system.heavy)
        times.append((time.perf_counter() - started) * 1000)
    return max(times, default=math.nan)


def _sizes(server: Postgres) -> list[tuple[str, int, str, str]]:
    """Return the number of rows of each table, and the sizes of the table and of its indexes."""
    size = "SELECT count(*), pg_size_pretty(pg_table_size('{0}')), pg_size_pretty(pg_indexes_size('{0}')) FROM {0}"
    return [(table, *execute(server, size.format(table))[0]) for table in _TABLES]


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
    cold: Mapping[str, float],
    sizes: list[tuple[str, int, str, str]],
    data: _Data,
) -> str:
    heavy = DataSize(data.large).heavy_messages
    introduction = (
        f"{data.requests} sequential requests per operation and user, alternately, to the chat service without Nginx. "
        "The reader has the same 200 sessions in both systems. *Ratio* is that of the p95. The limits are a ratio of "
        f"{_MAX_RATIO}, and {_LIMIT_MS} ms (p95) for searches of the heavy user, who has {heavy:,} messages. *Empty "
        f"caches* is the longest of {data.cold_requests} requests of the heavy user, each the first one after "
        "PostgreSQL was restarted and its files were removed from the page cache."
    )
    columns = f"{data.small:,} sessions: p50 | p95 | {data.large:,} sessions: p50 | p95 | ratio"
    lines = [
        introduction,
        "",
        f"| | {columns} | heavy user: p50 | p95 | empty caches |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for title, (little, much, own) in measured.items():
        ratio = much.p95 / little.p95
        verdict = f"{ratio:.2f}" if ratio <= _MAX_RATIO else f"**{ratio:.2f}**"
        over = "search" in title and own.p95 > _LIMIT_MS
        heavy_p95 = f"**{own.p95:.1f} ms**" if over else f"{own.p95:.1f} ms"
        lines.append(
            f"| {title} | {little.p50:.1f} ms | {little.p95:.1f} ms | {much.p50:.1f} ms | {much.p95:.1f} ms"
            f" | {verdict} | {own.p50:.1f} ms | {heavy_p95} | {cold[title]:.0f} ms |"
        )
    lines += ["", "| Table | rows | size | indexes |", "|---|---|---|---|"]
    lines += [f"| `{table}` | {rows:,} | {size} | {indexes} |" for table, rows, size, indexes in sizes]
    return "\n".join([*lines, "", f"Filling the tables took {data.fill_seconds / 60:.1f} minutes."])
