"""The floor and the system side by side: the same PostgreSQL, provider and user, each in one process without Nginx."""

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import psycopg2

from benchmarks.load import Target
from benchmarks.stack import running_stack
from local.ports import is_free
from local.process import ManagedProcess
from local.readiness import responds_ok
from local.stack import Stack

_PASSWORD = "correct horse battery staple"  # noqa: S105 - of an account that lives as long as this run
_NAMES = {"floor": "benchmarks.baseline:app", "system": "app.main:app"}


@dataclass(frozen=True)
class Comparison:
    """Both, ready for questions in the same sessions."""

    _targets: Mapping[str, Target]

    @property
    def names(self) -> list[str]:
        """Who takes part."""
        return list(self._targets)

    def target(self, name: str, clients: int) -> Target:
        """Return one of them, for so many clients, each with a session of its own."""
        target = self._targets[name]
        return Target(target.port, target.pid, target.access_token, target.sessions[:clients])


@contextmanager
def running_comparison(
    *, sessions: int, tokens: int, rate: float = 25, settings: Mapping[str, str] | None = None
) -> Iterator[Comparison]:
    """Start both, with a provider whose answers have so many tokens. `settings`: others than the local stack's."""
    with ExitStack() as cleanup:
        provider_port = _free_port()
        stack = cleanup.enter_context(
            running_stack(
                {
                    "OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1",
                    "LOG_LEVEL": "INFO",
                    **(settings or {}),
                }
            )
        )
        options = ["--port", str(provider_port), "--tokens", str(tokens), "--rate", str(rate)]
        _start(cleanup, stack, provider_port, ["-m", "benchmarks.provider", *options], path=None)
        floor_port = _free_port()
        # As the services are started.
        command = ["-m", "uvicorn", _NAMES["floor"], "--host", "127.0.0.1", "--port", str(floor_port)]
        _start(cleanup, stack, floor_port, [*command, "--no-access-log", "--no-server-header"], path="/readyz")
        token, ids = _make_sessions(stack, sessions)
        yield Comparison(
            {
                "floor": Target(floor_port, _pid("floor"), token, ids),
                "system": Target(stack.ports.chat, _pid("system"), token, ids),
            }
        )


def _start(cleanup: ExitStack, stack: Stack, port: int, command: list[str], *, path: str | None) -> None:
    environment = {**stack.environment, "PYTHONUNBUFFERED": "1"}
    program = ManagedProcess(command[1], [sys.executable, *command], Path(stack.home), environment=environment)
    program.start()
    cleanup.callback(program.stop)
    program.wait_until(lambda: not is_free(port) if path is None else responds_ok(port, path), seconds=60)


def _pid(name: str) -> int:
    return next(int(child.pid) for child in psutil.Process().children() if _NAMES[name] in child.cmdline())


def _make_sessions(stack: Stack, count: int) -> tuple[str, list[str]]:
    with httpx.Client(base_url=f"{stack.url}/api/v1", timeout=60) as client:
        account = {"email": "ada@example.com", "username": "ada", "password": _PASSWORD}
        client.post("/auth/register", json=account).raise_for_status()
        form = {"username": "ada", "password": _PASSWORD}
        token: str = client.post("/auth/login", data=form).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        created = [client.post("/chat/sessions", json={}).raise_for_status().json() for _ in range(count)]
    connection = psycopg2.connect(stack.environment["DATABASE_URL"])
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO floor.sessions (uuid, user_id) SELECT uuid, user_id FROM chat_sessions")
    connection.close()
    return token, [session["session_id"] for session in created]


def _free_port() -> int:
    return next(port for port in random.sample(range(12_000, 32_000), 50) if is_free(port))
