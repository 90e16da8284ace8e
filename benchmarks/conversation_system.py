"""Systems with generated conversations: their data directories, servers, users and caches.

With `BENCH_DATA=<directory>`, the clusters stay in that directory, one for each number of sessions. A later run
measures with a cluster that was filled completely, without filling it again. Without it, they are temporary.
"""

import asyncio
import json
import os
import random
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from app.config import Settings
from app.core.password_hashing import PasswordHasher
from benchmarks import query_plans
from benchmarks.conversation_data import HEAVY_USER, READER, ConversationWriter, DataSize
from benchmarks.stack import running_stack, temporary_home
from local.paths import log_file, private_directory
from local.postgres import Postgres
from local.services import Migrations
from local.stack import Stack
from local.watchdog import Watchdog

FILL_OPTIONS: Final = {
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_senders": "0",
    "max_wal_size": "8GB",
    "shared_buffers": "2GB",
    "synchronous_commit": "off",
    "wal_level": "minimal",
}
"""Settings of a server while its tables are filled. The data can be generated again, so durability does not matter."""
_RECOVERY_SECONDS: Final = 30


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


@dataclass(frozen=True)
class System:
    """A running system with its users."""

    reader: User
    heavy: User
    server: Postgres
    home: Path
    fill_seconds: float

    @property
    def log(self) -> Path:
        """Log file of PostgreSQL."""
        return log_file(self.home, self.server.name)

    def empty_caches(self) -> None:
        """Restart PostgreSQL without cached pages of its files, and wait until the services have reconnected."""
        self.server.stop()
        for path in _files(self.server):
            with suppress(OSError), path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self.server.start()
        deadline = time.monotonic() + _RECOVERY_SECONDS
        # The reader's request reads the catalogs of PostgreSQL, too.
        while time.monotonic() < deadline and self.reader.client.get("sessions").is_error:
            time.sleep(0.1)


@contextmanager
def running_system(sessions: int) -> Iterator[System]:
    """Start a system with this number of sessions; fill its database first, unless it is filled already."""
    with _cluster_home(sessions) as home, ExitStack() as exits:
        fill_seconds = _fill_once(home, sessions)
        server = Postgres(home, options=query_plans.OPTIONS)
        server.start()
        exits.callback(server.stop)
        with closing(query_plans.connect_superuser(server)) as superuser:
            query_plans.disable(superuser)
        # The benchmark takes longer than an access token is valid by default.
        settings = {"DATABASE_URL": server.url(), "ACCESS_TOKEN_EXPIRE_MINUTES": "600"}
        stack = exits.enter_context(running_stack(settings))
        reader, heavy = (exits.enter_context(_user(stack, server, name)) for name in (READER, HEAVY_USER))
        yield System(reader, heavy, server, home, fill_seconds)


def execute(server: Postgres, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401 - psycopg2 has no types
    """Execute a statement as superuser and return its rows."""
    with closing(query_plans.connect_superuser(server)) as superuser, superuser.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def _fill_once(home: Path, sessions: int) -> float:
    """Fill the cluster unless it is filled completely; return how many seconds filling has taken."""
    marker = home / "filled.json"
    if marker.exists():
        return float(json.loads(marker.read_text())["seconds"])
    shutil.rmtree(home / "postgres", ignore_errors=True)
    server = Postgres(home, options=FILL_OPTIONS)
    server.start()
    try:
        environment = {name: value for name, value in os.environ.items() if name not in Settings.model_fields}
        database = {"DATABASE_URL": server.url(), "SECRET_KEY": secrets.token_hex()}
        Migrations(home, environment | database).start()
        with closing(query_plans.connect_superuser(server)) as superuser:
            started = time.monotonic()
            ConversationWriter(superuser, DataSize(sessions)).fill()
            seconds = time.monotonic() - started
    finally:
        server.stop()
    for path in _files(server):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    marker.write_text(json.dumps({"seconds": seconds}))
    return seconds


def _files(server: Postgres) -> list[Path]:
    return [path for path in server.directory.rglob("*") if path.is_file()]


@contextmanager
def _cluster_home(sessions: int) -> Iterator[Path]:
    directory = os.environ.get("BENCH_DATA")
    if not directory:
        with temporary_home() as home:
            yield home
        return
    home = private_directory(Path(directory).resolve() / str(sessions))
    with Watchdog(home):
        yield home


@contextmanager
def _user(stack: Stack, server: Postgres, username: str) -> Iterator[User]:
    """Log in a user; yield a client of the chat service, without Nginx."""
    password = secrets.token_hex()
    password_hash = asyncio.run(PasswordHasher(1).hash(password))
    execute(server, "UPDATE users SET password_hash = %s WHERE username = %s", [password_hash, username])
    sessions = execute(
        server,
        "SELECT s.uuid::text, m.uuid::text FROM users u JOIN chat_sessions s ON s.user_id = u.id"
        " JOIN chat_messages m ON m.session_id = s.id AND m.seq = s.last_seq WHERE u.username = %s ORDER BY s.id",
        [username],
    )
    account = {"username": username, "password": password}
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        login = client.post("/api/v1/auth/login", data=account).raise_for_status().json()
    headers = {"Authorization": f"Bearer {login['access_token']}"}
    url = f"http://127.0.0.1:{stack.ports.chat}/api/v1/chat/"
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        yield User(client, [(session, message) for session, message in sessions], random.Random(1))  # noqa: S311 - not a secret
