"""Test runs in forked processes, which have the libraries loaded and share one Redis and one migrated PostgreSQL.

Loading the libraries and starting the servers takes longer than the tests of most mutations.
"""

import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.database import migrations
from local.postgres import Postgres
from local.redis import Redis
from tests.fixtures.database import new_database
from tests.fixtures.servers import UNSAFE_AND_FAST, temporary_home

_PRELOADED = ("tests.conftest", "app.auth_main", "app.main", "app.admin_main", "app.worker.lifespan")
"""Modules of the project that import the libraries. The first one sets the settings that the others read."""
_OWN_PACKAGES = ("app", "local", "tests")
_PYTEST = ("-x", "-q", "-rfE", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
_POLL_INTERVAL = 0.1


@contextmanager
def shared_servers() -> Iterator[None]:
    """Run the servers of all test runs, and load the libraries."""
    for module in _PRELOADED:
        importlib.import_module(module)
    with temporary_home() as home:
        postgres, redis = Postgres(home, options=UNSAFE_AND_FAST), Redis(home)
        postgres.start()
        try:
            redis.start()
            os.environ["TEST_DATABASE_URL"], os.environ["TEST_REDIS_URL"] = postgres.url(), redis.url
            with new_database(postgres.url()) as template:
                logging.disable(logging.INFO)
                migrations.upgrade(template)
                logging.disable(logging.NOTSET)
                os.environ["TEST_DATABASE_TEMPLATE"] = urlsplit(template).path.removeprefix("/")
                yield
        finally:
            redis.stop()
            postgres.stop()


def run_tests(directory: Path, arguments: Sequence[str], output: Path, *, max_seconds: float) -> int | None:
    """Run pytest in a forked process on a copy of the project, and return its exit code. None: it did not end in time.

    The process writes to the file `output`.
    """
    child = os.fork()
    if child == 0:
        _run_and_exit(directory, arguments, output)
    deadline = time.monotonic() + max_seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(_POLL_INTERVAL)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _run_and_exit(directory: Path, arguments: Sequence[str], output: Path) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(directory)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, sys.stdout.fileno())
        os.dup2(file, sys.stderr.fileno())
        os.environ["COLUMNS"] = "300"
        # The copy is imported, not the modules that the libraries were loaded with.
        for name in [name for name in sys.modules if name.partition(".")[0] in _OWN_PACKAGES]:
            del sys.modules[name]
        sys.path[:] = [str(directory), *(path for path in sys.path if path not in {"", str(Path(__file__).parents[2])})]
        importlib.invalidate_caches()
        code = int(pytest.main([*_PYTEST, *arguments]))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
