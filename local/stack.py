"""The stack: its components, their dependencies, parallel start and ordered stop."""

from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Self

from local.component import Component
from local.display import Display
from local.environment import (
    format_shell_file,
    is_set,
    override_defaults,
    persistent_secret,
    user_settings,
    write_private,
)
from local.frontend import Frontend
from local.model import MODEL_SETTINGS, Model
from local.nginx import Nginx
from local.paths import PROJECT, private_directory
from local.ports import Ports
from local.postgres import Postgres
from local.process import ComponentFailedError
from local.redis import Redis
from local.services import FirstAdmin, Migrations, Service, Worker

HOME = PROJECT / ".local"
"""Default state directory."""
_STOP_POLL_INTERVAL = 0.2
_MODEL_NAMES = ("LLM_MODEL", "LLM_FALLBACK_MODEL")
_PROVIDER_NAMES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "LLM_PROVIDERS")
"""Settings that replace the local model."""


class _NotStartedError(ComponentFailedError):
    """A dependency of the component has failed, or the stack is being stopped."""


class Stack:
    """All components behind one port of Nginx. Use it as a context manager, or call `start` and `stop`.

    Public: `start`, `stop`, `failures`, `url`, `home`, `ports`, `settings`, `environment` (of the services), the
    components `postgres`, `redis`, `model` and `mail_directory` (None if a setting replaces them) and `first_admin`.
    `given` are the user's settings, by default from the environment and `.env`. DATABASE_URL, REDIS_URL, MAIL_URL, and
    OPENAI_API_KEY, OPENAI_BASE_URL or LLM_PROVIDERS each replace a component; FRONTEND_DIST replaces the build of the
    web application.
    """

    def __init__(self, home: Path = HOME, port: int = 8080, given: Mapping[str, str] | None = None) -> None:
        """Create the components without starting them.

        Raises:
            PortError: the ports of the services cannot be derived from the port and CHAT_REPLICAS.

        """
        self.home = home.resolve()
        given = user_settings() if given is None else dict(given)
        replicas = given.get("CHAT_REPLICAS") or "1"
        self.ports = Ports.of(port, chat_replicas=int(replicas) if replicas.isdecimal() else 0)
        postgres, redis, model = Postgres(self.home), Redis(self.home), Model(self.home, self.ports.model)
        mail_directory = self.home / "mail"
        # A shell that has sourced services.env passes the addresses of the local components back.
        local_addresses = {
            "DATABASE_URL": postgres.service_url(),
            "REDIS_URL": redis.url,
            "OPENAI_BASE_URL": model.url,
            "MAIL_URL": mail_directory.as_uri(),
        }
        given = {name: value for name, value in given.items() if value != local_addresses.get(name)}
        self.postgres = None if is_set(given, "DATABASE_URL") else postgres
        self.redis = None if is_set(given, "REDIS_URL") else redis
        self.model = None if is_set(given, *_PROVIDER_NAMES) else model
        self.mail_directory = None if is_set(given, "MAIL_URL") else mail_directory
        self._given = given
        self.settings = override_defaults(self._local_settings(), given)
        admin_marker = self.postgres.directory / "first-admin-made" if self.postgres is not None else None
        self.first_admin = FirstAdmin(self.home, {**given, **self.settings}, admin_marker)
        notice = f"Local stack: log in as {self.first_admin.describe_login()}"
        self.settings |= override_defaults({"LOGIN_NOTICE": notice}, given)
        # Without the owner's URL: the services do not need it.
        self.environment = {**given, **self.settings, "MIGRATION_DATABASE_URL": ""}
        self._components = self._create_components(self.environment)
        self._stopping = Event()
        self._starting: dict[str, Future[None]] = {}

    @property
    def url(self) -> str:
        """URL of Nginx."""
        return f"http://localhost:{self.ports.gateway}"

    @property
    def owner_database_url(self) -> str:
        """URL of the database for the role that owns the tables, for migrations and inspection."""
        if self.postgres is not None:
            return self.postgres.url()
        return self._given.get("MIGRATION_DATABASE_URL") or self._given["DATABASE_URL"]

    def start(self, display: Display | None = None) -> None:
        """Start each component as soon as its dependencies are ready, and return when all are ready.

        Raises:
            PortError: a port is in use; nothing was started.
            ComponentFailedError: a component did not become ready; the others have been stopped.

        """
        self.ports.check_free(with_model=self.model is not None)
        write_private(private_directory(self.home) / "services.env", format_shell_file(self._written_settings()))
        if self.mail_directory is not None:
            private_directory(self.mail_directory)  # exists before the first email, so that it can be watched
        self._stopping.clear()
        with ThreadPoolExecutor(max_workers=len(self._components)) as pool:
            try:
                self._start_all(pool, display or Display())
            except BaseException:  # Ctrl-C too
                self.stop()
                raise

    def stop(self) -> None:
        """Stop all components in reverse order, Nginx last. A `start` that has not returned yet raises."""
        self._stopping.set()
        while True:
            # Repeated, because a component may start its next process after it was stopped.
            self._stop_all()
            _, running = wait(self._starting.values(), timeout=_STOP_POLL_INTERVAL)
            if not running:
                break
        self._stop_all()

    def restartable(self, component: Component) -> bool:
        """Return whether the system works without a component meanwhile: the model, or one of several replicas."""
        return component is self.model or (component in self.chat_services and len(self.chat_services) > 1)

    def failures(self) -> dict[Component, ComponentFailedError]:
        """Return the components that ended unexpectedly after they were ready, with the reason."""
        return {each: failure for each, _ in self._components if (failure := each.failure()) is not None}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _stop_all(self) -> None:
        components = [component for component, _ in reversed(self._components)]
        # Nginx last: clients with open streams receive the final events of a stopping service through it.
        for component in sorted(components, key=lambda component: isinstance(component, Nginx)):
            component.stop()

    def _create_components(self, environment: Mapping[str, str]) -> list[tuple[Component, list[str]]]:
        """Return the components with the names of their dependencies, each after its dependencies."""
        ports, home = self.ports, self.home
        chat_services = [
            Service(f"chat-service-{number}" if number > 1 else "chat-service", "app.main:app", port, home, environment)
            for number, port in enumerate((ports.chat, *ports.chat_replicas), 1)
        ]
        self.chat_services: list[Component] = list(chat_services)
        services = [
            *chat_services,
            Service("auth-service", "app.auth_main:app", ports.auth, home, environment),
            Service("admin-service", "app.admin_main:app", ports.admin, home, environment),
        ]
        servers: list[Component | None] = [self.postgres, self.redis, self.model]
        frontend = Frontend(home, environment)
        return [
            *((server, []) for server in servers if server is not None),
            (Migrations(home, {**environment, "MIGRATION_DATABASE_URL": self.owner_database_url}), ["postgres"]),
            *((service, ["migrate", "redis"]) for service in services),
            (Worker(home, environment), ["migrate", "redis"]),
            (self.first_admin, ["migrate"]),
            (frontend, []),
            (Nginx(home, ports, frontend, environment), [frontend.name, *(service.name for service in services)]),
        ]

    def _written_settings(self) -> dict[str, str]:
        """Return the settings for running another service on this stack. Without the user's keys and providers."""
        model = {name: self._given[name] for name in ("OPENAI_BASE_URL", *_MODEL_NAMES) if self._given.get(name)}
        return self.settings | model

    def _local_settings(self) -> dict[str, str]:
        """Return the settings that depend on the local components."""
        settings = {
            "SECRET_KEY": persistent_secret(self.home / "secret-key"),
            "DEBUG": "true",  # serves the interactive API documentation
            "FORWARDED_ALLOW_IPS": "127.0.0.1",
            "PUBLIC_URL": self.url,
            "SHUTDOWN_GRACE": "5",
        }
        if self.postgres is not None:
            settings["DATABASE_URL"] = self.postgres.service_url()
        if self.redis is not None:
            settings["REDIS_URL"] = self.redis.url
        if self.mail_directory is not None:
            settings["MAIL_URL"] = self.mail_directory.as_uri()
        if self.model is not None:
            settings |= {"OPENAI_BASE_URL": self.model.url, **MODEL_SETTINGS}
        return settings

    def _start_all(self, pool: ThreadPoolExecutor, display: Display) -> None:
        self._starting = {}
        for component, dependencies in self._components:
            futures = [self._starting[name] for name in dependencies if name in self._starting]
            self._starting[component.name] = pool.submit(self._start_component, component, futures, display)
        finished, _ = wait(self._starting.values(), return_when=FIRST_EXCEPTION)
        failures = [error for future in finished if (error := future.exception()) is not None]
        # The original failure first: components that depend on a failed one have failed too.
        for error in sorted(failures, key=lambda error: isinstance(error, _NotStartedError)):
            raise error

    def _start_component(self, component: Component, dependencies: list[Future[None]], display: Display) -> None:
        if any(future.exception() is not None for future in dependencies) or self._stopping.is_set():
            raise _NotStartedError(component.name, "was not started")
        display.begin(component.name)
        component.start(lambda text: display.detail(component.name, text))
        display.done(component.name)
