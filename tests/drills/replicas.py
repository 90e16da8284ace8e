"""Chat service processes that restart quickly, forked from a process with all modules imported."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import uvicorn

from tests.drills import FULL_SIZE
from tests.support.request_timeout import extend_request_timeout

if not FULL_SIZE:
    # Before other modules import the value: the replicas are forked from a process that imports this module.
    extend_request_timeout()

from app import main
from app.chat.turns import runner
from app.config import Settings
from app.http.uvicorn_protocol import ProblemProtocol
from app.services import turn_end_polling
from local.orphans import ProcessRecord, forget_process, record_process
from local.paths import log_file
from local.readiness import responds_ok
from tests.fixtures.processes import free_port
from tests.support.provider import Provider
from tests.support.waiting import LONGEST_WAIT

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Lease:
    """Shorter lease times of turns, so that a test does not wait 30 s for a lease to expire."""

    seconds: float = 10
    renew_before: float = 8


def _serve(settings: Settings, port: int, lease: Lease | None, log: Path, tasks: Path) -> None:
    os.setsid()
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    if lease is not None:
        runner.LEASE = timedelta(seconds=lease.seconds)
        runner._RENEW_THRESHOLD = timedelta(seconds=lease.renew_before)
    if not FULL_SIZE:
        turn_end_polling.CANCEL_TIMEOUT = LONGEST_WAIT
    # The same options as for `uvicorn app.main:app` in the local stack.
    config = uvicorn.Config(
        main.create(settings),
        host="127.0.0.1",
        port=port,
        http=ProblemProtocol,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=20,
    )

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(
            signal.SIGUSR1, lambda: tasks.write_text(f"{len(asyncio.all_tasks())}\n", encoding="utf-8")
        )
        await uvicorn.Server(config).serve()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as loop_runner:
        loop_runner.run(serve())


class Replica:
    """A chat service process. It keeps its port when it is restarted."""

    def __init__(self, settings: Settings, home: Path, name: str, lease: Lease | None = None) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.name = name
        self._home = home
        self._port = port
        self._log = log_file(home, name)
        self._tasks = home / f"{name}.tasks"
        self._arguments = (settings, port, lease, self._log, self._tasks)
        self._process: BaseProcess | None = None

    @property
    def process(self) -> psutil.Process:
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def start(self) -> None:
        """Start the service and wait until it is ready."""
        self._process = _FORKS.Process(target=_serve, args=self._arguments, daemon=True)
        self._process.start()
        # Recorded, so that the watchdog ends it if the test run is killed.
        record_process(self._home, self.name, ProcessRecord.of(self.process.pid, signal.SIGTERM))
        Provider.wait_until(lambda: not self.is_running() or responds_ok(self._port, "/readyz"))
        assert self.is_running(), self._log.read_text()[-2000:]

    def is_running(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def tasks(self) -> int:
        """Return the number of tasks in the event loop of the service."""
        self._tasks.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        Provider.wait_until(lambda: self._tasks.exists() and self._tasks.read_text().endswith("\n"))
        return int(self._tasks.read_text())

    def errors(self) -> list[str]:
        """Return the lines of the log with errors."""
        return [line for line in self._log.read_text().splitlines() if '"ERROR"' in line or "Traceback" in line]

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.send_signal(number)
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process = None
        forget_process(self._home, self.name)
