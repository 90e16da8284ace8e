"""Process records, and termination of orphan processes by their recorded identity."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

# The kernel stores the start of a process in ticks since boot, so a change of the clock moves its wall-clock time.
_START_TIME_TOLERANCE = 2.0

_POLL_INTERVAL = 0.05


@dataclass(frozen=True)
class ProcessRecord:
    """Identity of a process that leads its own process group. Process ids are reused; start times are not."""

    pid: int
    created: float
    executable: str
    stop_signal: int

    @classmethod
    def of(cls, pid: int, stop_signal: signal.Signals) -> Self:
        """Return the record of a running process."""
        process = psutil.Process(pid)
        with process.oneshot():
            return cls(pid, process.create_time(), process.exe(), stop_signal)

    def leader(self) -> psutil.Process | None:
        """Return the recorded process, or None if it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.created) < _START_TIME_TOLERANCE and not has_ended(process):
                return process
        return None

    def end(self, timeout: float) -> bool:
        """Stop the process and its group: with its stop signal, and after `timeout` seconds with SIGKILL.

        Returns:
            Whether any process was still running.

        """
        leader = self.leader()
        if leader is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                leader.send_signal(self.stop_signal)
                if not wait_for_end(leader, timeout):
                    leader.kill()
                    wait_for_end(leader, timeout)
        orphans = list(self._orphans())
        for process in orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                wait_for_end(process, timeout)
        return leader is not None or bool(orphans)

    def _orphans(self) -> Iterator[psutil.Process]:
        """Find remaining processes of the group, such as the workers of an Nginx whose master was killed.

        The kernel does not reuse a process id while a group has that id: if the id is in use, the group is empty.
        """
        with contextlib.suppress(psutil.NoSuchProcess):
            if not has_ended(psutil.Process(self.pid)):
                return
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getpgid(process.pid) == self.pid and process.exe() == self.executable:
                    yield process


def record_process(home: Path, component: str, record: ProcessRecord) -> None:
    """Store the record of a component's process until `forget_process`."""
    path = _record_file(home, component)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(record)))
    temporary.replace(path)


def forget_process(home: Path, component: str) -> None:
    """Remove the record of a process that has ended."""
    _record_file(home, component).unlink(missing_ok=True)


def recorded_processes(home: Path) -> dict[str, ProcessRecord]:
    """Return the records of all components by name, the latest started first."""
    records = {}
    for path in home.glob("run/*.process"):
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            records[path.stem] = ProcessRecord(**json.loads(path.read_text()))
    return dict(sorted(records.items(), key=lambda item: item[1].created, reverse=True))


def end_orphans(home: Path, timeout: float = 10) -> list[str]:
    """End every recorded process that is still running, the latest started first.

    The caller must ensure that no supervisor is running in `home`.

    Returns:
        The names of the components that were still running.

    """
    ended = []
    for component, record in recorded_processes(home).items():
        if record.end(timeout):
            ended.append(component)
        forget_process(home, component)
    return ended


def has_ended(process: psutil.Process) -> bool:
    """Return whether a process has ended. A zombie counts as ended: a container without an init process keeps them."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_end(process: psutil.Process, timeout: float) -> bool:
    """Wait until a process, not necessarily a child, has ended; return False after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not has_ended(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_INTERVAL)
    return True


def _record_file(home: Path, component: str) -> Path:
    return home / "run" / f"{component}.process"
