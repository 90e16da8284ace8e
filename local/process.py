"""One operating-system process of the stack: started, watched, stopped."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from local.orphans import ProcessRecord, forget_process, record_process
from local.os_user import OsUser
from local.paths import PROJECT, log_file

_POLL_SECONDS = 0.05


class ComponentFailedError(Exception):
    """A part did not get ready, or ended by itself. The text is one line; the end of `log` says more."""

    def __init__(self, part: str, reason: str, log: Path | None = None, exit_code: int | None = None) -> None:
        super().__init__(f"{part}: {reason}")
        self.log = log
        self.exit_code = exit_code

    def log_end(self, lines: int = 15) -> list[str]:
        """Return the last lines of the part's log."""
        if self.log is None or not self.log.exists():
            return []
        return self.log.read_text(errors="replace").splitlines()[-lines:]


class ManagedProcess:
    """A process in a session of its own, so that a terminal's Ctrl-C reaches the supervisor only.

    Its output goes to `<home>/logs/<name>.log`; the log of the run before is kept beside it as `.log.1`.
    """

    def __init__(  # noqa: PLR0913 - what a process has
        self,
        name: str,
        command: Sequence[str | Path],
        home: Path,
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path = PROJECT,
        account: OsUser | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_seconds: float = 10,
    ) -> None:
        self.name = name
        self.log = log_file(home, name)
        self._command = [str(word) for word in command]
        self._home = home
        self._environment = dict(environment) if environment is not None else None
        self._directory = directory
        self._account = account
        self._stop_signal = stop_signal
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._record: ProcessRecord | None = None

    def start(self) -> None:
        """Start the process.

        Raises:
            PartFailedError: it cannot be executed.

        """
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        account = self._account
        try:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    cwd=self._directory,
                    start_new_session=True,
                    user=None if account is None else account.uid,
                    group=None if account is None else account.gid,
                    extra_groups=None if account is None else [],
                )
        except OSError as error:
            raise ComponentFailedError(self.name, f"cannot be started: {error}") from error
        with contextlib.suppress(psutil.Error):  # it may have ended already; its exit code tells
            self._record = ProcessRecord.of(self._process.pid, self._stop_signal)
            record_process(self._home, self.name, self._record)

    def failure(self) -> ComponentFailedError | None:
        """Return how the process ended; None while it runs or before it was started."""
        code = None if self._process is None else self._process.poll()
        return (
            None if code is None else ComponentFailedError(self.name, f"ended with {_exit_words(code)}", self.log, code)
        )

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready()`.

        Raises:
            PartFailedError: the process ended first, or time ran out.

        """
        deadline = time.monotonic() + seconds
        while not ready():
            if (failure := self.failure()) is not None:
                raise failure
            if time.monotonic() > deadline:
                raise ComponentFailedError(self.name, f"was not ready after {seconds:g} s", self.log)
            time.sleep(_POLL_SECONDS)

    def run(self, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Start the process and wait for its success, calling `meanwhile` now and then.

        Raises:
            PartFailedError: it failed, or time ran out.

        """
        self.start()
        deadline = time.monotonic() + seconds
        while (failure := self.failure()) is None:
            if time.monotonic() > deadline:
                self.stop()
                raise ComponentFailedError(self.name, f"was not done after {seconds:g} s", self.log)
            meanwhile()
            time.sleep(_POLL_SECONDS)
        self.stop()
        if failure.exit_code != 0:
            raise failure

    def stop(self) -> None:
        """End the process and all of its group: politely first, after a while at once. Harmless when it has ended."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._stop_seconds)
            process.kill()
            process.wait()
        # Its children, if it left any. The kernel gives a process id to nobody while a group bears it: once somebody
        # has it, the group is empty.
        if not psutil.pid_exists(process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        forget_process(self._home, self.name)


def _exit_words(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
