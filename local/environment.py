"""The settings of the services in a local stack: the user's where there are any, else the local parts'."""

import os
import secrets
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from dotenv import dotenv_values

from local.paths import PROJECT, private_directory


def user_settings() -> dict[str, str]:
    """Return what the user has set: the environment, and below it `.env`."""
    from_file = {name: value for name, value in dotenv_values(PROJECT / ".env").items() if value is not None}
    return from_file | os.environ


def is_set(given: Mapping[str, str], *names: str) -> bool:
    """Say whether any of the names has a value. An empty one is none: shells and compose files pass those on."""
    return any(given.get(name) for name in names)


def choose(given: Mapping[str, str], local: Mapping[str, str]) -> dict[str, str]:
    """Return each of the local settings, or what the user has set instead."""
    return {name: given.get(name) or value for name, value in local.items()}


def persistent_secret(file: Path, make: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> str:
    """Return the secret in a file, making it the first time."""
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        secret = make()
        write_private(file, f"{secret}\n")
        return secret


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, all of it or nothing."""
    private_directory(file.parent)
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    unfinished.replace(file)


def shell_lines(settings: Mapping[str, str]) -> str:
    """Return the settings as a file that a shell can source."""
    lines = [f"{name}={shlex.quote(value)}" for name, value in settings.items()]
    return "\n".join(["# Made at each start: set -a; . .local/services.env; set +a", *lines, ""])
