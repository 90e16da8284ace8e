"""Lock on the state directory, and the record of the supervisor that holds it."""

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
    """A supervised stack that is starting or running."""

    url: str
    supervisor: ProcessRecord


class AlreadyRunningError(Exception):
    """Another supervisor holds the lock on the state directory."""


@contextmanager
def hold_lock(home: Path, url: str) -> Iterator[None]:
    """Hold the lock on a state directory and record this process as its supervisor.

    The kernel releases the lock when this process ends, even if it is killed.

    Raises:
        AlreadyRunningError: another process holds the lock.

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
    """Return the stack that runs in a state directory, or None."""
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):
        document = json.loads((home / "run" / "stack.json").read_text())
        stack = RunningStack(document["url"], ProcessRecord(**document["supervisor"]))
        if stack.supervisor.leader() is not None:
            return stack
    return None
