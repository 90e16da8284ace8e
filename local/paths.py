"""Paths in the state directory, by default `.local/`."""

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from local.os_user import OsUser

PROJECT = Path(__file__).parents[1]

# sockaddr_un holds 108 bytes on Linux and 104 on macOS; PostgreSQL appends "/.s.PGSQL.5432.lock".
_MAX_SOCKET_DIRECTORY_BYTES = 80


def log_file(home: Path, component: str) -> Path:
    """Return the path of a component's log file, after creating its directory."""
    return private_directory(home / "logs") / f"{component}.log"


def private_directory(path: Path, user: OsUser | None = None) -> Path:
    """Create a directory that only its owner can access, and its parents; return its path."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user is not None:
        os.chown(path, user.uid, user.gid)
    return path


def socket_directory(home: Path, component: str) -> Path:
    """Return the directory for a component's sockets: under `home`, or a temporary one if that path is too long."""
    path = home.resolve() / "run" / component
    if len(os.fsencode(path)) <= _MAX_SOCKET_DIRECTORY_BYTES:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"chat-bot-system-{name}"


def make_socket_directory(path: Path, user: OsUser | None = None) -> None:
    """Create a directory that only the server's user can access.

    Raises:
        PermissionError: the path exists and is not a private directory of that user.

    """
    private_directory(path, user)
    owner = os.geteuid() if user is None else user.uid
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or status.st_mode & 0o077:
        msg = f"{path} is not a private directory of the server's user. Remove it."
        raise PermissionError(msg)


def remove_socket_directory(path: Path, home: Path) -> None:
    """Remove a socket directory that is not under `home`; one under `home` is kept."""
    if not path.is_relative_to(home):
        shutil.rmtree(path, ignore_errors=True)


def display_path(path: Path) -> str:
    """Return a path relative to the project's folder if it is inside it."""
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)
