"""Baseline and system side by side: same PostgreSQL, provider and user, one process each, without Nginx."""

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

_PASSWORD = "correct horse battery staple"  # noqa: S105 - the account exists during this run only
_APPLICATIONS = {"baseline": "benchmarks.baseline_service:app", "system": "app.main:app"}


@dataclass(frozen=True)
class Comparison:
    """Baseline and system, ready for questions in the same sessions."""

    _targets: Mapping[str, Target]

    @property
    def names(self) -> list[str]:
        """The names of the compared services."""
        return list(self._targets)

    def target(self, name: str, clients: int) -> Target:
        """Return a service as the target of `clients` clients, each with its own session."""
        target = self._targets[name]
        return Target(target.port, target.pid, target.access_token, target.sessions[:clients])


@contextmanager
def running_comparison(
    *, sessions: int, tokens: int, rate: float = 25, settings: Mapping[str, str] | None = None
) -> Iterator[Comparison]:
    """Start baseline and system with a provider whose answers have `tokens` tokens.

    `settings` override those of the local stack; `rate` is the number of streamed tokens per second.
    """
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
        baseline_port = _free_port()
        # The same options as for the services in the local stack.
        command = ["-m", "uvicorn", _APPLICATIONS["baseline"], "--host", "127.0.0.1", "--port", str(baseline_port)]
        _start(cleanup, stack, baseline_port, [*command, "--no-access-log", "--no-server-header"], path="/readyz")
        token, ids = _create_sessions(stack, sessions)
        yield Comparison(
            {
                "baseline": Target(baseline_port, _pid("baseline"), token, ids),
                "system": Target(stack.ports.chat, _pid("system"), token, ids),
            }
        )


def _start(cleanup: ExitStack, stack: Stack, port: int, command: list[str], *, path: str | None) -> None:
    # The baseline creates its own tables, so it runs as the owner.
    environment = {**stack.environment, "DATABASE_URL": stack.owner_database_url, "PYTHONUNBUFFERED": "1"}
    process = ManagedProcess(command[1], [sys.executable, *command], Path(stack.home), environment=environment)
    process.start()
    cleanup.callback(process.stop)
    process.wait_until(lambda: not is_free(port) if path is None else responds_ok(port, path), timeout=60)


def _pid(name: str) -> int:
    return next(int(child.pid) for child in psutil.Process().children() if _APPLICATIONS[name] in child.cmdline())


def _create_sessions(stack: Stack, count: int) -> tuple[str, list[str]]:
    with httpx.Client(base_url=f"{stack.url}/api/v1", timeout=60) as client:
        account = {"email": "ada@example.com", "username": "ada", "password": _PASSWORD}
        client.post("/auth/register", json=account).raise_for_status()
        form = {"username": "ada", "password": _PASSWORD}
        token: str = client.post("/auth/login", data=form).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        created = [client.post("/chat/sessions", json={}).raise_for_status().json() for _ in range(count)]
    connection = psycopg2.connect(stack.owner_database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO baseline.sessions (uuid, user_id) SELECT uuid, user_id FROM chat_sessions")
    connection.close()
    return token, [session["session_id"] for session in created]


def _free_port() -> int:
    return next(port for port in random.sample(range(12_000, 32_000), 50) if is_free(port))
