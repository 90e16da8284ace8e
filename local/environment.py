"""Settings and environment of the services in a local stack."""

import os
import secrets
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from dotenv import dotenv_values

from app.config import Settings
from app.config.env_file import check_env_file
from app.config.secret_files import secret_names, without_secret_files
from local.paths import PROJECT, private_directory


def user_settings() -> dict[str, str]:
    """Return the user's settings: environment variables, which take precedence over `.env`. Secret files are read.

    Raises:
        SystemExit: `.env` or a secret file cannot be used.

    """
    file = PROJECT / ".env"
    try:
        check_env_file(file)
    except ValueError as error:
        raise SystemExit(f"configuration: {error}") from None
    from_file = {name: value for name, value in dotenv_values(file, encoding="utf-8-sig").items() if value is not None}
    names = [*secret_names(Settings), "ADMIN_PASSWORD"]
    try:
        # Each source by itself, as the services do: a variable replaces a file that `.env` names, and vice versa.
        from_file, variables = without_secret_files(from_file, names), without_secret_files(os.environ, names)
    except ValueError as error:
        raise SystemExit(f"configuration: {error}") from None
    return from_file | variables


def is_set(given: Mapping[str, str], *names: str) -> bool:
    """Return whether any of the names has a value. Empty values count as unset, as in shells and compose files."""
    return any(given.get(name) for name in names)


def override_defaults(defaults: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the defaults, each replaced by the user's value if one is set."""
    return {name: given.get(name) or value for name, value in defaults.items()}


def persistent_secret(file: Path, generate: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> str:
    """Return the secret in a file; generate and write it if the file does not exist."""
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        secret = generate()
        write_private(file, f"{secret}\n")
        return secret


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, atomically."""
    private_directory(file.parent)
    temporary = file.with_name(f"{file.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    temporary.replace(file)


def format_shell_file(settings: Mapping[str, str]) -> str:
    """Return the settings as the text of a file that a shell can source."""
    lines = [f"{name}={shlex.quote(value)}" for name, value in settings.items()]
    return "\n".join(["# Written at each start. To load: set -a; . .local/services.env; set +a", *lines, ""])
