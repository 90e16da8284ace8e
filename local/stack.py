"""The whole system: which parts there are, which need which, and how they are started and stopped."""

from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Self

from local.component import Component
from local.display import Display
from local.environment import choose, is_set, persistent_secret, shell_lines, user_settings, write_private
from local.model import MODEL_NAME, MODELS_SETTING, Model
from local.nginx import Gateway
from local.paths import PROJECT, private_directory
from local.ports import Ports
from local.postgres import Postgres
from local.process import ComponentFailedError
from local.redis import Redis
from local.services import FirstAdmin, Migrate, Service, Worker

HOME = PROJECT / ".local"
_STOP_POLL_SECONDS = 0.2
_MODEL_NAMES = ("LLM_MODEL", "LLM_FALLBACK_MODEL")


class _NotStartedError(ComponentFailedError):
    """What a part needs has failed, or the stack is being stopped."""


class Stack:
    """Everything behind one gateway port.

    Public: `start`, `stop`, `failures`, `url`, `home`, `ports`, `settings`, the services' `environment`, the parts
    `postgres`, `redis`, `model` and `mail_directory` (None where `given` replaces them) and `first_admin`, and use as a
    context manager. `given` are the user's settings: DATABASE_URL, REDIS_URL, MAIL_URL, and OPENAI_API_KEY or
    OPENAI_BASE_URL each replace a part; by default they come from the environment and `.env`.
    """

    def __init__(self, home: Path = HOME, port: int = 8080, given: Mapping[str, str] | None = None) -> None:
        """Plan the stack. Nothing is started yet.

        Raises:
            PortError: the port leaves no room for the services' own.

        """
        self.home = home.resolve()
        self.ports = Ports.of(port)
        postgres, redis, model = Postgres(self.home), Redis(self.home), Model(self.home, self.ports.model)
        mail_directory = self.home / "mail"
        # A shell that has read services.env gives the local parts' own addresses back.
        own = {
            "DATABASE_URL": postgres.url(),
            "REDIS_URL": redis.url,
            "OPENAI_BASE_URL": model.url,
            "MAIL_URL": mail_directory.as_uri(),
        }
        given = user_settings() if given is None else dict(given)
        given = {name: value for name, value in given.items() if value != own.get(name)}
        self.postgres = None if is_set(given, "DATABASE_URL") else postgres
        self.redis = None if is_set(given, "REDIS_URL") else redis
        self.model = None if is_set(given, "OPENAI_API_KEY", "OPENAI_BASE_URL") else model
        self.mail_directory = None if is_set(given, "MAIL_URL") else mail_directory
        self._given = given
        self.settings = choose(given, self._local_settings())
        self.environment = {**given, **self.settings}
        admin_made = self.postgres.directory / "first-admin-made" if self.postgres is not None else None
        self.first_admin = FirstAdmin(self.home, self.environment, admin_made)
        self._parts = self._plan(self.environment)
        self._stopping = Event()
        self._starting: dict[str, Future[None]] = {}

    @property
    def url(self) -> str:
        """The gateway's URL."""
        return f"http://localhost:{self.ports.gateway}"

    def start(self, display: Display | None = None) -> None:
        """Start every part as soon as what it needs is ready, and return when all are.

        Raises:
            PortError: a port is in use; nothing has been started.
            PartFailedError: a part did not get ready; the others have been stopped.

        """
        self.ports.check_free(with_model=self.model is not None)
        write_private(private_directory(self.home) / "services.env", shell_lines(self._written_settings()))
        if self.mail_directory is not None:
            private_directory(self.mail_directory)  # there before the first mail, for whoever waits for it
        self._stopping.clear()
        with ThreadPoolExecutor(max_workers=len(self._parts)) as pool:
            try:
                self._start_all(pool, display or Display())
            except BaseException:  # Ctrl-C too
                self.stop()
                raise

    def stop(self) -> None:
        """Stop every part, the last started first but for the gateway; a `start` that has not returned yet fails."""
        self._stopping.set()
        while True:
            # Again, if a part was between two programs when it was told to stop.
            self._stop_all()
            _, running = wait(self._starting.values(), timeout=_STOP_POLL_SECONDS)
            if not running:
                break
        self._stop_all()

    def failures(self) -> dict[Component, ComponentFailedError]:
        """Return the parts that have ended by themselves since they were ready, and how."""
        return {part: failure for part, _ in self._parts if (failure := part.failure()) is not None}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _stop_all(self) -> None:
        parts = [part for part, _ in reversed(self._parts)]
        # The gateway last: open streams end through it, with what a stopping service says.
        for part in sorted(parts, key=lambda part: isinstance(part, Gateway)):
            part.stop()

    def _plan(self, environment: Mapping[str, str]) -> list[tuple[Component, list[str]]]:
        """List the parts, each after those that it needs."""
        ports, home = self.ports, self.home
        services = [
            Service("chat-service", "app.main:app", ports.chat, home, environment),
            Service("auth-service", "app.auth_main:app", ports.auth, home, environment),
            Service("admin-service", "app.admin_main:app", ports.admin, home, environment),
        ]
        servers: list[Component | None] = [self.postgres, self.redis, self.model]
        return [
            *((part, []) for part in servers if part is not None),
            (Migrate(home, environment), ["postgres"]),
            *((service, ["migrate", "redis"]) for service in services),
            (Worker(home, environment), ["migrate", "redis"]),
            (self.first_admin, ["migrate"]),
            (Gateway(home, ports), [service.name for service in services]),
        ]

    def _written_settings(self) -> dict[str, str]:
        """Return what another process needs to run a service beside these. A key that the user has stays with them."""
        model = {name: self._given[name] for name in ("OPENAI_BASE_URL", *_MODEL_NAMES) if self._given.get(name)}
        return self.settings | model

    def _local_settings(self) -> dict[str, str]:
        """Return the settings that the local parts decide."""
        settings = {
            "SECRET_KEY": persistent_secret(self.home / "secret-key"),
            "DEBUG": "true",  # serves the interactive pages of the API
            "FORWARDED_ALLOW_IPS": "127.0.0.1",
            "SHUTDOWN_GRACE": "5",
        }
        if self.postgres is not None:
            settings["DATABASE_URL"] = self.postgres.url()
        if self.redis is not None:
            settings["REDIS_URL"] = self.redis.url
        if self.mail_directory is not None:
            settings["MAIL_URL"] = self.mail_directory.as_uri()
        if self.model is not None:
            settings |= {
                "OPENAI_BASE_URL": self.model.url,
                "LLM_MODEL": MODEL_NAME,
                "LLM_FALLBACK_MODEL": "",
                "LLM_MODELS": MODELS_SETTING,
                "LLM_MAX_TOKENS": "256",
                "LLM_TEMPERATURE": "0",
                "LLM_SUMMARY_MESSAGES": "2",
            }
        return settings

    def _start_all(self, pool: ThreadPoolExecutor, display: Display) -> None:
        self._starting = {}
        for part, needs in self._parts:
            needed = [self._starting[name] for name in needs if name in self._starting]
            self._starting[part.name] = pool.submit(self._start_part, part, needed, display)
        finished, _ = wait(self._starting.values(), return_when=FIRST_EXCEPTION)
        failures = [error for future in finished if (error := future.exception()) is not None]
        # Parts that only wait for one that failed have failed too, but that is not news.
        for error in sorted(failures, key=lambda error: isinstance(error, _NotStartedError)):
            raise error

    def _start_part(self, part: Component, needed: list[Future[None]], display: Display) -> None:
        if any(future.exception() is not None for future in needed) or self._stopping.is_set():
            raise _NotStartedError(part.name, "was not started")
        display.begin(part.name)
        part.start(lambda text: display.detail(part.name, text))
        display.done(part.name)
