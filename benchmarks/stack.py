"""Local stack for benchmarks, with a scriptable provider."""

import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.config import Settings
from local.paths import PROJECT, private_directory
from local.ports import PortError, Ports
from local.stack import Stack
from local.watchdog import Watchdog
from tests.support.provider import running_provider

# Requests are counted as in production, and none is refused.
_UNLIMITED = {
    "RATE_LIMIT_REQUESTS": "1000000",
    "RATE_LIMIT_REQUESTS_PER_ADDRESS": "1000000",
    "STREAMS_PER_USER": "10000",
    "QUESTIONS_PER_USER": "10000",
    "OPEN_ANSWERS_PER_PROCESS": "100000",
    "QUEUED_REQUESTS_PER_CLIENT": "100000",
    "QUEUED_REQUESTS_PER_PROCESS": "100000",
    "REQUEST_QUEUE_TIMEOUT": "600",
}


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Create a temporary state directory. Its processes end with this process, even if that is killed."""
    with tempfile.TemporaryDirectory(prefix="chat-bench-", ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        with Watchdog(home):
            yield home


@contextmanager
def running_stack(settings: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """Start Nginx, the services, PostgreSQL and Redis with these settings and a scriptable provider."""
    inherited = {name: value for name, value in os.environ.items() if name not in Settings.model_fields}
    with temporary_home() as home:
        (home / "packages").symlink_to(private_directory(PROJECT / ".local" / "packages"))
        with running_provider() as provider:
            model = {
                "OPENAI_BASE_URL": provider.base_url,
                "LLM_MODEL": "fast",
                "LLM_FALLBACK_MODEL": "",
                # Questions are repeated.
                "LLM_CACHE_TTL": "0",
            }
            with Stack(home, _free_port(), {**inherited, **model, **_UNLIMITED, **(settings or {})}) as stack:
                yield stack


def _free_port() -> int:
    for port in random.sample(range(12_000, 32_000), 50):
        try:
            Ports.of(port).check_free(with_model=False)
        except PortError:
            continue
        return port
    raise SystemExit("no free ports")
