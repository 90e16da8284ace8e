"""Which supervisor runs a stack's directory, for whoever comes second: `make run`, `make down`, `make demo`."""

import contextlib
import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from local.orphans import ProcessRecord
from local.paths import private_directory


@dataclass(frozen=True)
class RunningStack:
    """A supervised stack, ready or on its way."""

    url: str
    supervisor: ProcessRecord


class AlreadyRunningError(Exception):
    """Somebody else supervises the directory."""


@contextmanager
def hold_lock(home: Path, url: str) -> Iterator[None]:
    """Be the one supervisor of a directory, and let others know. The kernel frees it, however this process ends.

    Raises:
        AlreadyRunningError: there is one.

    """
    with (private_directory(home / "run") / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError from None
        file = home / "run" / "stack.json"
        record = ProcessRecord.of(os.getpid(), signal.SIGTERM)
        file.write_text(json.dumps(asdict(RunningStack(url, record))))
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def running_stack(home: Path) -> RunningStack | None:
    """Return the stack that runs in a directory."""
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):
        known = json.loads((home / "run" / "stack.json").read_text())
        stack = RunningStack(known["url"], ProcessRecord(**known["supervisor"]))
        if stack.supervisor.leader() is not None:
            return stack
    return None
