"""The project's own parts: the three services, the worker, and the steps that prepare the database for them."""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

from local.component import Component, Report, silent
from local.environment import persistent_secret
from local.paths import shown_path
from local.process import ManagedProcess
from local.readiness import responds_ok


class Service(Component):
    """One of the three services, under uvicorn."""

    def __init__(self, name: str, application: str, port: int, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__(name, home)
        self._application = application
        self._port = port
        self._environment = environment

    def start(self, report: Report = silent) -> None:
        """Start the service and wait until it is ready for requests; see `Component`."""
        command = [sys.executable, "-m", "uvicorn", self._application, "--host", "127.0.0.1", "--port", str(self._port)]
        options = [
            "--http",
            "app.http.protocol:ProblemProtocol",
            "--timeout-graceful-shutdown",
            "20",
            "--no-access-log",
            "--no-server-header",
        ]
        program = ManagedProcess(
            self.name, [*command, *options], self._home, environment=self._environment, stop_seconds=30
        )
        report("importing")
        self._serve(program, lambda: responds_ok(self._port, "/readyz"), seconds=60)


class Worker(Component):
    """The background jobs. Nothing waits for them, so they are ready when they have been started."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__("worker", home)
        self._environment = environment

    def start(self, report: Report = silent) -> None:
        """Start the worker; see `Component`."""
        report("starting")
        program = ManagedProcess(
            self.name, [sys.executable, "-m", "app.worker.__main__"], self._home, environment=self._environment
        )
        self._serve(program, lambda: True, seconds=1)


class Migrate(Component):
    """Brings the database's schema up to date."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__("migrate", home)
        self._environment = environment

    def start(self, report: Report = silent) -> None:
        """Run the migrations; see `Component`."""
        report("running migrations")
        command = [sys.executable, "-m", "app.cli", "migrate"]
        self._complete(ManagedProcess(self.name, command, self._home, environment=self._environment), seconds=300)


class FirstAdmin(Component):
    """Makes the first admin, once. The password is the user's ADMIN_PASSWORD, or a random one, kept in a file."""

    def __init__(self, home: Path, environment: dict[str, str], made: Path | None) -> None:
        """Plan it. `made` is a file beside the local data that remembers it; None where the database is the user's."""
        super().__init__("first-admin", home)
        self._made = made
        self._environment = environment
        self.email = environment.get("ADMIN_EMAIL") or "admin@example.com"
        # Another database has another admin.
        database = hashlib.sha256(environment["DATABASE_URL"].encode()).hexdigest()[:8]
        self.password_file = self._home / ("admin-password" if made else f"admin-password-{database}")

    def start(self, report: Report = silent) -> None:
        """Make the admin, if there is none of that address; see `Component`."""
        if self._made is not None and self._made.exists():
            return
        report("looking for the admin")
        password_is_new = not self.password_file.exists()
        password = self._environment.get("ADMIN_PASSWORD") or persistent_secret(self.password_file)
        program = ManagedProcess(
            self.name,
            [sys.executable, "-m", "app.cli", "create-admin", "--email", self.email, "--username", "admin"],
            self._home,
            environment=self._environment | {"ADMIN_PASSWORD": password},
        )
        self._complete(program, seconds=60)
        if password_is_new and "Created" not in program.log.read_text():
            # That admin is older than the file: it would name a password that was never theirs.
            self.password_file.unlink(missing_ok=True)
        if self._made is not None:
            self._made.touch()

    def login(self) -> str:
        """Say how to log in as the admin."""
        if self.password_file.exists() and not self._environment.get("ADMIN_PASSWORD"):
            return f"{self.email}, password in {shown_path(self.password_file)}"
        return f"{self.email}, with the password it was made with"
