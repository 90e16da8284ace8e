"""Build of the web application, in a cache that all stacks of this folder share."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import IO

from local.component import Component, ReportProgress, ignore_progress
from local.frontend_inputs import build_key, copy_inputs, installation_key
from local.npm import FRONTEND, npm_command, npm_environment
from local.paths import PROJECT, private_directory
from local.process import ComponentFailedError, ManagedProcess

_INSTALL = [
    "ci",
    "--omit=dev",
    "--ignore-scripts",
    "--prefer-offline",
    "--no-audit",
    "--no-fund",
    # Without a network, npm would otherwise wait more than a minute before it reports that.
    "--fetch-retry-maxtimeout=10000",
]
_INSTALL_TIMEOUT = 900
_BUILD_TIMEOUT = 300
_LOCK_POLL_INTERVAL = 0.1
_MAX_BUILDS = 5
"""Builds to keep. A running stack may serve an older one; each start of a stack marks its build as used."""


class Frontend(Component):
    """Step that builds the web application, unless a build of the same sources exists. Public: `start`, `directory`.

    FRONTEND_DIST replaces it by the directory of a finished build.
    """

    def __init__(self, home: Path, environment: Mapping[str, str], sources: Path = FRONTEND) -> None:
        super().__init__("frontend", home)
        self._environment = environment
        self._sources = sources
        self._cache = self._home / "packages" / "frontend"
        self._builds = self._cache / "builds"
        self._workspace = self._cache / "workspace"
        self._stopped = Event()
        self.directory = self._builds
        """Directory with the files to serve, once the component has started."""

    def start(self, report: ReportProgress = ignore_progress) -> None:
        """Provide the built files; see `Component.start`."""
        self._stopped.clear()
        try:
            self.directory = self._finished_build() or self._cached_build(report)
        except OSError as error:
            raise ComponentFailedError(self.name, f"cannot use its files: {error}") from error

    def stop(self) -> None:
        """Stop the build."""
        self._stopped.set()
        super().stop()

    def _finished_build(self) -> Path | None:
        if not (configured := self._environment.get("FRONTEND_DIST")):
            return None
        directory = PROJECT / Path(configured).expanduser()
        if not (directory / "index.html").is_file():
            raise ComponentFailedError(self.name, f"FRONTEND_DIST={configured} has no index.html")
        return directory

    def _cached_build(self, report: ReportProgress) -> Path:
        target = self._builds / build_key(self._sources)
        if not target.exists():
            with self._lock(report) as lock:
                if not target.exists():
                    self._build(target, lock, report)
        os.utime(target)
        return target

    @contextmanager
    def _lock(self, report: ReportProgress) -> Iterator[IO[str]]:
        """Hold the lock on the workspace. npm inherits it: it may run for a moment after this process was killed."""
        with (private_directory(self._cache) / "lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    report("waiting for another build of the web application")
                    if self._stopped.wait(_LOCK_POLL_INTERVAL):
                        raise ComponentFailedError(self.name, "was stopped") from None
            yield lock

    def _build(self, target: Path, lock: IO[str], report: ReportProgress) -> None:
        copy_inputs(self._sources, private_directory(self._workspace))
        installed = self._workspace / "node_modules" / ".installed"
        key = installation_key(self._workspace)
        if not installed.exists() or installed.read_text() != key:
            installed.unlink(missing_ok=True)
            self._run_npm("install", _INSTALL, lock, _INSTALL_TIMEOUT, report)
            private_directory(installed.parent)  # npm does not create it for an application without dependencies
            installed.write_text(key)
        self._run_npm("build", ["run", "build"], lock, _BUILD_TIMEOUT, report)
        built = self._workspace / "dist"
        if not (built / "index.html").is_file():
            raise ComponentFailedError(self.name, "`npm run build` did not write dist/index.html")
        private_directory(self._builds)
        built.rename(target)
        self._remove_old_builds()

    def _run_npm(self, step: str, arguments: list[str], lock: IO[str], timeout: float, report: ReportProgress) -> None:
        process = ManagedProcess(
            f"{self.name}-{step}",
            npm_command(*arguments),
            self._home,
            environment=self._npm_environment(),
            directory=self._workspace,
            inherited=[lock.fileno()],
        )
        doing = {"install": "installing packages", "build": "compiling"}[step]
        began = time.monotonic()
        self._run_to_completion(
            process,
            timeout,
            lambda: report(f"building the web application: {doing} ({time.monotonic() - began:.0f} s)"),
        )

    def _npm_environment(self) -> dict[str, str]:
        """Return the environment of npm: that of this process, because the components' has secrets."""
        environment = npm_environment(os.environ)
        if not os.access(Path.home(), os.W_OK):
            environment.setdefault("npm_config_cache", str(self._cache / "npm"))
        return environment

    def _remove_old_builds(self) -> None:
        builds = sorted(self._builds.iterdir(), key=lambda build: build.stat().st_mtime, reverse=True)
        for build in builds[_MAX_BUILDS:]:
            shutil.rmtree(build)
