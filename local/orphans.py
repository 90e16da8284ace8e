"""Processes that outlived who started them: found and ended by their recorded identity, never by a name."""

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

# The kernel counts the start of a process in ticks since boot; a stepped clock moves what that means in wall time.
_CLOCK_TOLERANCE = 2.0

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class ProcessRecord:
    """The identity of a process that leads its own group: a process id is used again, a start time is not."""

    pid: int
    created: float
    executable: str
    stop_signal: int

    @classmethod
    def of(cls, pid: int, stop_signal: signal.Signals) -> Self:
        """Describe a running process."""
        process = psutil.Process(pid)
        with process.oneshot():
            return cls(pid, process.create_time(), process.exe(), stop_signal)

    def leader(self) -> psutil.Process | None:
        """Return the process, if it is still the one that was recorded."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.created) < _CLOCK_TOLERANCE and not has_ended(process):
                return process
        return None

    def end(self, seconds: float) -> bool:
        """End the process and its group: politely, and after `seconds` at once.

        Returns:
            Whether there was anything to end.

        """
        leader = self.leader()
        if leader is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                leader.send_signal(self.stop_signal)
                if not wait_for_end(leader, seconds):
                    leader.kill()
                    wait_for_end(leader, seconds)
        orphans = list(self._orphans())
        for process in orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                wait_for_end(process, seconds)
        return leader is not None or bool(orphans)

    def _orphans(self) -> Iterator[psutil.Process]:
        """Find what is left of the group, such as the workers of an Nginx whose master was killed.

        The kernel gives a process id to nobody while a group bears it: if somebody has it now, nothing is left.
        """
        with contextlib.suppress(psutil.NoSuchProcess):
            if not has_ended(psutil.Process(self.pid)):
                return
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getpgid(process.pid) == self.pid and process.exe() == self.executable:
                    yield process


def record_process(home: Path, part: str, record: ProcessRecord) -> None:
    """Remember a process of a part until `forget_process`."""
    path = _record_file(home, part)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(asdict(record)))
    unfinished.replace(path)


def forget_process(home: Path, part: str) -> None:
    """Drop the record of a process that has ended."""
    _record_file(home, part).unlink(missing_ok=True)


def recorded_processes(home: Path) -> dict[str, ProcessRecord]:
    """Read the records of all parts, the latest started first."""
    records = {}
    for path in home.glob("run/*.process"):
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            records[path.stem] = ProcessRecord(**json.loads(path.read_text()))
    return dict(sorted(records.items(), key=lambda item: item[1].created, reverse=True))


def end_orphans(home: Path, seconds: float = 10) -> list[str]:
    """End every recorded process that still runs, the latest started first.

    For when nobody supervises `home`: the caller knows that.

    Returns:
        The parts that were still running.

    """
    ended = []
    for part, record in recorded_processes(home).items():
        if record.end(seconds):
            ended.append(part)
        forget_process(home, part)
    return ended


def has_ended(process: psutil.Process) -> bool:
    """Say whether a process does nothing any more, even if nobody collects it, as in a container without an init."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_end(process: psutil.Process, seconds: float) -> bool:
    """Wait until a process, of whichever parent, has ended; say whether it has."""
    deadline = time.monotonic() + seconds
    while not has_ended(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _record_file(home: Path, part: str) -> Path:
    return home / "run" / f"{part}.process"
