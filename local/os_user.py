"""Who runs PostgreSQL: it refuses to run as root, so root needs somebody else for it."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

_EXISTING_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True)
class OsUser:
    """A user of this machine, in their main group only."""

    name: str
    uid: int
    gid: int


def server_user(data: Path) -> OsUser | None:
    """Return who must run a server that refuses root: nobody else (None), unless this process is root.

    It is the owner of `data`, if that is not root, so that files stay readable to who made them. No user is created.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (uid := data.stat().st_uid) != 0:
        return OsUser(name=str(uid), uid=uid, gid=data.stat().st_gid)
    for name in _EXISTING_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return OsUser(name, entry.pw_uid, entry.pw_gid)
    msg = f"PostgreSQL cannot run as root, and this machine has none of the users {', '.join(_EXISTING_ACCOUNTS)}"
    raise PermissionError(msg)


def grant_traversal(path: Path, account: OsUser) -> list[Path]:
    """Let an account pass through the directories above `path`, without letting it list them.

    Returns:
        The directories whose permissions had to change: they gained `o+x`.

    """
    changed = []
    for directory in reversed(path.resolve().parents):
        if not _can_traverse(directory, account):
            directory.chmod(directory.stat().st_mode | 0o001)
            changed.append(directory)
    return changed


def _can_traverse(directory: Path, account: OsUser) -> bool:
    status = directory.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == account.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)
