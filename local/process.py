"""Operating system process of a component: start, monitoring, stop."""

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

_POLL_INTERVAL = 0.05


class ComponentFailedError(Exception):
    """A component did not become ready, or ended unexpectedly. The message is one line; `log` has the details."""

    def __init__(self, component: str, reason: str, log: Path | None = None, exit_code: int | None = None) -> None:
        super().__init__(f"{component}: {reason}")
        self.log = log
        self.exit_code = exit_code

    def log_end(self, lines: int = 15) -> list[str]:
        """Return the last lines of the component's log file."""
        if self.log is None or not self.log.exists():
            return []
        return self.log.read_text(errors="replace").splitlines()[-lines:]


class ManagedProcess:
    """A process in its own session, so that Ctrl-C on the terminal reaches the supervisor only.

    Its output goes to `<home>/logs/<name>.log`; the log of the previous run is kept as `.log.1`.
    """

    def __init__(  # noqa: PLR0913 - attributes of a process
        self,
        name: str,
        command: Sequence[str | Path],
        home: Path,
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path = PROJECT,
        user: OsUser | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_timeout: float = 10,
        inherited: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log_file(home, name)
        self._command = [str(word) for word in command]
        self._home = home
        self._environment = dict(environment) if environment is not None else None
        self._directory = directory
        self._user = user
        self._stop_signal = stop_signal
        self._stop_timeout = stop_timeout
        self._inherited = inherited
        self._process: subprocess.Popen[bytes] | None = None
        self._record: ProcessRecord | None = None

    def start(self) -> None:
        """Start the process.

        Raises:
            ComponentFailedError: the command cannot be executed.

        """
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        user = self._user
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
                    pass_fds=self._inherited,
                    user=None if user is None else user.uid,
                    group=None if user is None else user.gid,
                    extra_groups=None if user is None else [],
                )
        except OSError as error:
            raise ComponentFailedError(self.name, f"could not be started: {error}") from error
        with contextlib.suppress(psutil.Error):  # the process may have ended already; `failure` reports that
            self._record = ProcessRecord.of(self._process.pid, self._stop_signal)
            record_process(self._home, self.name, self._record)

    def failure(self) -> ComponentFailedError | None:
        """Return why the process ended; None while it runs or before it was started."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return None
        return ComponentFailedError(self.name, f"ended with {_describe_exit(code)}", self.log, code)

    def wait_until(self, is_ready: Callable[[], bool], timeout: float) -> None:
        """Wait until `is_ready` returns True, for at most `timeout` seconds.

        Raises:
            ComponentFailedError: the process ended before that, or the timeout expired.

        """
        deadline = time.monotonic() + timeout
        while not is_ready():
            if (failure := self.failure()) is not None:
                raise failure
            if time.monotonic() > deadline:
                raise ComponentFailedError(self.name, f"was not ready after {timeout:g} s", self.log)
            time.sleep(_POLL_INTERVAL)

    def run(self, timeout: float, on_poll: Callable[[], None] = lambda: None) -> None:
        """Start the process and wait until it ends with exit code 0; call `on_poll` every 50 ms.

        Raises:
            ComponentFailedError: the process failed, or the timeout in seconds expired.

        """
        self.start()
        deadline = time.monotonic() + timeout
        while (failure := self.failure()) is None:
            if time.monotonic() > deadline:
                self.stop()
                raise ComponentFailedError(self.name, f"did not end within {timeout:g} s", self.log)
            on_poll()
            time.sleep(_POLL_INTERVAL)
        self.stop()
        if failure.exit_code != 0:
            raise failure

    def stop(self) -> None:
        """Stop the process with its stop signal, after the timeout with SIGKILL, then kill the rest of its group."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._stop_timeout)
            process.kill()
            process.wait()
        # Children that are still running. The kernel does not reuse a process id while a group has that id: if the id
        # is in use, the group is empty.
        if not psutil.pid_exists(process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        forget_process(self._home, self.name)


def _describe_exit(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
