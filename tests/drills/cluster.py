"""All processes of a system behind the gateway, with several replicas of each service, which tests kill and restart."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from app.config import Settings
from local.frontend import Frontend
from local.nginx import Nginx
from local.ports import Ports
from local.services import Service
from tests.drills.replicas import Lease, Replica
from tests.e2e.conftest import free_gateway_port
from tests.fixtures.processes import WorkerProcess, environment, free_port, kill, process

LEASE = Lease(6, 5)
FOUND_AGAIN_SECONDS = 1.5
"""Time after which the gateway tries a replica again that it could not reach."""

ServiceName = Literal["auth", "chat", "admin"]


class ReplicatedGateway(Nginx):
    """The gateway of the local stack, with replicas of all services."""

    def __init__(self, home: Path, frontend: Frontend, upstreams: Mapping[ServiceName, list[int]]) -> None:
        self._upstreams = upstreams
        port = free_gateway_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(home, Ports.of(port), frontend)

    def _write_configuration(self) -> None:
        super()._write_configuration()
        main, gateway = self._directory / "main.conf", self._directory / "gateway.conf"
        groups = "".join(
            f"upstream {name}_of_drill {{\n"
            + "".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=1s;\n" for port in ports)
            + "}\n"
            for name, ports in self._upstreams.items()
        )
        main.write_text(main.read_text().replace("include gateway.conf;", f"{groups}include gateway.conf;"))
        lines = gateway.read_text().splitlines(keepends=True)
        for name in self._upstreams:
            setting = f"set ${name}_upstream "
            lines = [f"{setting}{name}_of_drill;\n" if line.strip().startswith(setting) else line for line in lines]
        gateway.write_text("".join(lines))

    def reload(self) -> None:
        """Start new worker processes; the old ones end with their last request."""
        process(self, self._home).send_signal(signal.SIGHUP)


class UvicornReplica:
    """A process of the auth or the admin service. It keeps its port when it is restarted."""

    def __init__(self, settings: Settings, home: Path, service: ServiceName, number: int) -> None:
        self.port = free_port()
        self._home = home
        application = {"auth": "app.auth_main:app", "admin": "app.admin_main:app"}[service]
        self._service = Service(f"drill-{service}-{number}", application, self.port, home, environment(settings))

    def start(self) -> None:
        self._service.start()

    def stop(self) -> None:
        """Send SIGTERM and wait for the end."""
        self._service.stop()

    def kill(self) -> None:
        kill(self._service, self._home)


class DrillWorker:
    """A worker that can be restarted."""

    def __init__(self, settings: Settings, home: Path) -> None:
        self._arguments = (settings, home, "drill-worker")
        self._process: WorkerProcess | None = None

    def start(self) -> None:
        self._process = WorkerProcess(*self._arguments)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process = None


Part = Replica | UvicornReplica | DrillWorker


class Cluster:
    """Two auth and admin services, three chat services and a worker behind the gateway."""

    def __init__(self, settings: Settings, home: Path) -> None:
        self.chat = [Replica(settings, home, f"drill-chat-{number}", LEASE) for number in range(3)]
        self.auth = [UvicornReplica(settings, home, "auth", number) for number in range(2)]
        self.admin = [UvicornReplica(settings, home, "admin", number) for number in range(2)]
        self.worker = DrillWorker(settings, home)
        dist = home / "drill-dist"
        dist.mkdir()
        (dist / "index.html").write_text("<!doctype html><title>Chat Bot System</title>")
        frontend = Frontend(home, {"FRONTEND_DIST": str(dist)})
        frontend.start()
        self.gateway = ReplicatedGateway(
            home,
            frontend,
            {
                "auth": [replica.port for replica in self.auth],
                "chat": [int(replica.url.rpartition(":")[2]) for replica in self.chat],
                "admin": [replica.port for replica in self.admin],
            },
        )

    @property
    def parts(self) -> list[Part]:
        """All processes except the gateway."""
        return [*self.auth, *self.chat, *self.admin, self.worker]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run all processes while the block runs."""
        with ExitStack() as stack:
            for part in (*self.parts, self.gateway):
                stack.callback(part.stop)
                part.start()
            yield

    def service(self, name: str) -> list[Part]:
        """Return the processes of a service, or the worker."""
        parts: dict[str, list[Part]] = {
            "auth": [*self.auth],
            "chat": [*self.chat],
            "admin": [*self.admin],
            "worker": [self.worker],
        }
        return parts[name]

    async def restart_one_by_one(self) -> None:
        """Restart every process as a rolling restart does: the next one when the one before is ready again."""
        for part in self.parts:
            await asyncio.to_thread(part.stop)
            await asyncio.to_thread(part.start)
            await asyncio.sleep(FOUND_AGAIN_SECONDS)
        self.gateway.reload()


async def for_seconds(seconds: float, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Begin a fault, and end it after this time."""
    await asyncio.to_thread(begin)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(end)
