"""Ends the stack's processes when the process that started them is killed."""

import subprocess
import sys
from pathlib import Path
from typing import Self

from local.orphans import end_orphans
from local.paths import PROJECT


class Watchdog:
    """A small process that outlives its maker by the time it takes to end what runs under `home`.

    It waits for the end of a pipe that only its maker holds, which the kernel closes however the maker ends. (Linux
    could signal each child instead, but not one that changes its user, and other systems cannot.)
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to watch this process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local.watchdog", str(self._home.resolve())],
            stdin=subprocess.PIPE,
            cwd=PROJECT,
            start_new_session=True,
        )

    def stop(self) -> None:
        """End the watch, and whatever still runs under `home`."""
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
