"""PostgreSQL server that logs query plans, and the plans of requests."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from benchmarks.stack import temporary_home
from local.paths import log_file
from local.postgres import Postgres

OPTIONS: Final = {"shared_preload_libraries": "auto_explain", "max_wal_size": "4GB", "log_line_prefix": "%a "}
"""Settings of a server whose plans are logged."""


@contextmanager
def postgres_with_auto_explain() -> Iterator[tuple[str, Any, Path]]:
    """Start a PostgreSQL server with `auto_explain`; yield its URL, a superuser connection and its log file."""
    with temporary_home() as home:
        server = Postgres(home, options=OPTIONS)
        server.start()
        try:
            superuser = connect_superuser(server)
            yield server.url(), superuser, log_file(home, server.name)
            superuser.close()
        finally:
            server.stop()


def connect_superuser(server: Postgres) -> Any:  # noqa: ANN401 - psycopg2 has no types
    """Return a connection of the superuser in autocommit mode."""
    url = urlsplit(server.url())
    connection = psycopg2.connect(urlunsplit(url._replace(netloc=url.netloc.replace("chat@", "postgres@"))))
    connection.autocommit = True
    return connection


def enable(superuser: Any) -> None:  # noqa: ANN401 - psycopg2 has no types
    """Log the plan of every statement from now on."""
    settings = {"log_min_duration": "0", "log_analyze": "on", "log_buffers": "on", "log_format": "json"}
    with superuser.cursor() as cursor:
        for name, value in settings.items():
            cursor.execute(f"ALTER SYSTEM SET auto_explain.{name} = '{value}'")
        cursor.execute("SELECT pg_reload_conf()")
    time.sleep(1)


def disable(superuser: Any) -> None:  # noqa: ANN401
    """Log no plans, also if an earlier run with the same data has enabled it."""
    with superuser.cursor() as cursor:
        cursor.execute("ALTER SYSTEM RESET ALL")
        cursor.execute("SELECT pg_reload_conf()")


def slowest(request: Callable[[], None], log: Path) -> str:
    """Return the plan of the slowest statement that is executed during a request."""
    offset = log.stat().st_size
    request()
    time.sleep(0.5)
    with log.open() as lines:
        lines.seek(offset)
        text = lines.read()
    # The line begins with the name of the application (`log_line_prefix`). Jobs of the worker are not of the request.
    plans = re.findall(
        r"^(?!worker )\S+ LOG:  duration: ([\d.]+) ms  plan:\s*(\{.*?\n\t\})", text, re.DOTALL | re.MULTILINE
    )
    # On a new connection, the driver looks up data types first.
    plans = [(duration, plan) for duration, plan in plans if '"pg_type"' not in plan]
    _, plan = max(plans, key=lambda each: float(each[0]))
    return "\n".join(_nodes(json.loads(plan)["Plan"], 0))


def _nodes(node: dict[str, Any], depth: int) -> Iterator[str]:
    """Yield the lines of a plan in the style of EXPLAIN, reduced to nodes, rows, times and blocks."""
    labels = [node["Node Type"], node.get("Index Name"), node.get("Relation Name")]
    hit, read = node.get("Shared Hit Blocks", 0), node.get("Shared Read Blocks", 0)
    blocks = f"{hit + read} blocks, {read} of them read from disk"
    line = f"{' / '.join(filter(None, labels))}: {node['Actual Rows']:.0f} rows x {node['Actual Loops']}"
    yield f"{'  ' * depth}{line}, {node['Actual Total Time']:.1f} ms, {blocks}"
    for child in node.get("Plans", []):
        yield from _nodes(child, depth + 1)
