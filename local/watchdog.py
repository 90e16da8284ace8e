"""Watchdog process that ends the stack's processes when the supervisor is killed."""

import subprocess
import sys
from pathlib import Path
from typing import Self

from local.orphans import end_orphans
from local.paths import PROJECT


class Watchdog:
    """A process that outlives its parent for as long as it takes to end the recorded processes in `home`.

    It reads from a pipe whose other end only the parent holds: the kernel closes the pipe even if the parent is killed.
    (Linux can signal children on the death of a parent, but not those that change their user; other systems cannot.)
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the watchdog for the current process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local.watchdog", str(self._home.resolve())],
            stdin=subprocess.PIPE,
            cwd=PROJECT,
            start_new_session=True,
        )

    def stop(self) -> None:
        """Stop the watchdog, which ends the remaining processes in `home`."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_orphans(Path(sys.argv[1]))
