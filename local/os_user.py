"""OS user for PostgreSQL, which refuses to run as root."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

_CANDIDATE_USERS = ("postgres", "nobody")


@dataclass(frozen=True)
class OsUser:
    """A user of the operating system, with its primary group only."""

    name: str
    uid: int
    gid: int


def server_user(data: Path) -> OsUser | None:
    """Return the OS user for a server that refuses to run as root, or None if this process does not run as root.

    It is the owner of `data`, if that is not root, so that existing files stay readable. No user is created.

    Raises:
        PermissionError: no suitable user exists.

    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (uid := data.stat().st_uid) != 0:
        return OsUser(name=str(uid), uid=uid, gid=data.stat().st_gid)
    for name in _CANDIDATE_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return OsUser(name, entry.pw_uid, entry.pw_gid)
    msg = f"PostgreSQL cannot run as root, and none of these users exists: {', '.join(_CANDIDATE_USERS)}"
    raise PermissionError(msg)


def grant_traversal(path: Path, user: OsUser) -> list[Path]:
    """Let a user traverse the directories above `path`, without permission to list them.

    Returns:
        The directories whose permissions were changed by adding `o+x`.

    """
    changed = []
    for directory in reversed(path.resolve().parents):
        if not _can_traverse(directory, user):
            directory.chmod(directory.stat().st_mode | 0o001)
            changed.append(directory)
    return changed


def _can_traverse(directory: Path, user: OsUser) -> bool:
    status = directory.stat()
    if status.st_uid == user.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == user.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)
