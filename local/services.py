"""Components of this project: the three services, the worker, the migrations and the first admin."""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

from local.component import Component, ReportProgress, ignore_progress
from local.environment import persistent_secret
from local.paths import display_path
from local.process import ManagedProcess
from local.readiness import responds_ok

WORKER_STOP_TIMEOUT = 20.0
"""Seconds that the worker may take to stop: it first waits for its jobs, then for running webhook deliveries."""

_ADMIN_USERNAME = "admin"


class Service(Component):
    """One of the three services, under uvicorn."""

    def __init__(self, name: str, application: str, port: int, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__(name, home)
        self._application = application
        self._port = port
        self._environment = environment

    def start(self, report: ReportProgress = ignore_progress) -> None:
        """Start the service and wait until it is ready; see `Component.start`."""
        command = [sys.executable, "-m", "uvicorn", self._application, "--host", "127.0.0.1", "--port", str(self._port)]
        options = [
            "--http",
            "app.http.uvicorn_protocol:ProblemProtocol",
            "--timeout-graceful-shutdown",
            "20",
            "--no-access-log",
            "--no-server-header",
        ]
        process = ManagedProcess(
            self.name, [*command, *options], self._home, environment=self._environment, stop_timeout=30
        )
        report("importing")
        self._start_server(process, lambda: responds_ok(self._port, "/readyz"))


class Worker(Component):
    """The background worker. Nothing depends on it, so it counts as ready once it has been started."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__("worker", home)
        self._environment = environment

    def start(self, report: ReportProgress = ignore_progress) -> None:
        """Start the worker; see `Component.start`."""
        report("starting")
        process = ManagedProcess(
            self.name,
            [sys.executable, "-m", "app.worker"],
            self._home,
            environment=self._environment,
            stop_timeout=WORKER_STOP_TIMEOUT,
        )
        self._start_server(process, lambda: True)


class Migrations(Component):
    """Step that migrates the database to the current schema."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__("migrate", home)
        self._environment = environment

    def start(self, report: ReportProgress = ignore_progress) -> None:
        """Run the migrations; see `Component.start`."""
        report("running migrations")
        command = [sys.executable, "-m", "app.cli", "migrate"]
        process = ManagedProcess(self.name, command, self._home, environment=self._environment)
        self._run_to_completion(process, timeout=300)


class FirstAdmin(Component):
    """Step that creates the first admin once. The password is ADMIN_PASSWORD, or random and stored in a file."""

    def __init__(self, home: Path, environment: dict[str, str], marker: Path | None) -> None:
        """Prepare the step.

        `marker` is a file beside the local cluster that is created after the first success; None with an external
        database.
        """
        super().__init__("first-admin", home)
        self._marker = marker
        self._environment = environment
        self.email = environment.get("ADMIN_EMAIL") or "admin@example.com"
        # Each external database has its own admin.
        database = hashlib.sha256(environment["DATABASE_URL"].encode()).hexdigest()[:8]
        self.password_file = self._home / ("admin-password" if marker else f"admin-password-{database}")

    def start(self, report: ReportProgress = ignore_progress) -> None:
        """Create the admin, unless there has been one; see `Component.start`."""
        if self._marker is not None and self._marker.exists():
            return
        report("creating the admin")
        password_is_new = not self.password_file.exists()
        password = self._environment.get("ADMIN_PASSWORD") or persistent_secret(self.password_file)
        command = [sys.executable, "-m", "app.cli", "create-admin", "--first"]
        process = ManagedProcess(
            self.name,
            [*command, "--email", self.email, "--username", _ADMIN_USERNAME],
            self._home,
            environment=self._environment | {"ADMIN_PASSWORD": password},
        )
        self._run_to_completion(process, timeout=300)
        if password_is_new and "Created" not in process.log.read_text():
            # An admin existed before: the password in the file is not its password.
            self.password_file.unlink(missing_ok=True)
        if self._marker is not None:
            self._marker.touch()

    def describe_login(self) -> str:
        """Return what the admin logs in with, before the admin is created too."""
        # An external database may have had admins before, with other names and addresses.
        login = self.email if self._marker is None else _ADMIN_USERNAME
        will_be_created = self._marker is not None and not self._marker.exists()
        if (will_be_created or self.password_file.exists()) and not self._environment.get("ADMIN_PASSWORD"):
            return f"{login}; the password is in {display_path(self.password_file)}"
        others = " or another admin of the database" if self._marker is None else ""
        return f"{login}{others}, with the password set when the account was created"
