"""Where things are under the stack's directory, `.local/` unless a caller chose another."""

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from local.os_user import OsUser

PROJECT = Path(__file__).parents[1]

# sockaddr_un holds 108 bytes on Linux and 104 on macOS; PostgreSQL appends "/.s.PGSQL.5432.lock".
_LONGEST_SOCKET_DIRECTORY = 80


def log_file(home: Path, part: str) -> Path:
    """Return the log of a part, in a directory that exists."""
    return private_directory(home / "logs") / f"{part}.log"


def private_directory(path: Path, account: OsUser | None = None) -> Path:
    """Make a directory, and its parents, that only its owner can look into."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account is not None:
        os.chown(path, account.uid, account.gid)
    return path


def socket_directory(home: Path, part: str) -> Path:
    """Name the directory for a part's sockets: under `home`, or if that path is too long, the temporary directory."""
    path = home.resolve() / "run" / part
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_DIRECTORY:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"chat-bot-system-{name}"


def make_socket_directory(path: Path, account: OsUser | None = None) -> None:
    """Make a directory that only the server's user can enter.

    Raises:
        PermissionError: somebody else made it first.

    """
    private_directory(path, account)
    owner = os.geteuid() if account is None else account.uid
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or status.st_mode & 0o077:
        msg = f"{path} is not a private directory of the server's user: remove it"
        raise PermissionError(msg)


def remove_socket_directory(path: Path, home: Path) -> None:
    """Remove a directory for sockets, if it is not under `home`, where it bothers nobody."""
    if not path.is_relative_to(home):
        shutil.rmtree(path, ignore_errors=True)


def shown_path(path: Path) -> str:
    """Return a path as a user of the project's folder would write it."""
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)
