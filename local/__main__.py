"""Command line of the local stack: `python -m local run`, `status`, `down`, `backup` and `restore`."""

import argparse
import sys
from pathlib import Path

from local.backup import BackupError, backup, restore
from local.environment import user_settings
from local.lock import AlreadyRunningError, running_stack
from local.orphans import end_orphans
from local.paths import display_path
from local.ports import PortError
from local.process import ComponentFailedError
from local.stack import HOME, Stack
from local.supervisor import run

_DEFAULT_PORT = "8080"
_STOP_TIMEOUT = 180


def _run(arguments: argparse.Namespace) -> int:
    settings = user_settings()
    port = arguments.port or settings.get("PORT") or _DEFAULT_PORT
    if not port.isdecimal():
        print(f"PORT={port} is not a number", file=sys.stderr)
        return 2
    try:
        return run(Stack(HOME, int(port), settings))
    except PortError as error:
        print(error, file=sys.stderr)
        return 2


def _status(_arguments: argparse.Namespace) -> int:
    running = running_stack(HOME)
    if running is None:
        print("The stack in this folder is not running.")
        return 1
    print(f"The stack in this folder is running at {running.url} (supervisor process {running.supervisor.pid}).")
    return 0


def _down(_arguments: argparse.Namespace) -> int:
    running = running_stack(HOME)
    if running is not None:
        running.supervisor.end(_STOP_TIMEOUT)
    orphans = end_orphans(HOME)
    print("The stack has been stopped." if running or orphans else "The stack in this folder is not running.")
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    try:
        target = backup(
            Stack(HOME, given=user_settings()), arguments.directory and Path(arguments.directory).absolute()
        )
    except (BackupError, ComponentFailedError) as error:
        print(f"backup: {error}", file=sys.stderr)
        return 1
    print(f"Written: {display_path(target)}. It contains the secret key: store that file in another place.")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    try:
        manifest = restore(Stack(HOME, given=user_settings()), Path(arguments.directory).absolute())
    except (BackupError, ComponentFailedError, AlreadyRunningError) as error:
        print(f"restore: {error}", file=sys.stderr)
        return 1
    rows = sum(int(table["rows"]) for table in manifest["tables"].values())
    print(f"Restored the backup of {manifest['made_at']}: {len(manifest['tables'])} tables, {rows} rows, all equal.")
    return 0


def main() -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m local", description="Runs the whole system on one machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("run", help="start the system and stop it on Ctrl-C")
    command.add_argument("--port", help="port of Nginx; default: $PORT, else 8080")
    command.set_defaults(function=_run)
    commands.add_parser("status", help="show whether the system is running, and its URL").set_defaults(function=_status)
    commands.add_parser("down", help="stop the system from another terminal").set_defaults(function=_down)
    command = commands.add_parser("backup", help="write a backup, of a running or stopped system")
    command.add_argument("directory", nargs="?", help="new directory; default: .local/backups/TIME")
    command.set_defaults(function=_backup)
    command = commands.add_parser("restore", help="restore a backup into the empty database of a stopped system")
    command.add_argument("directory")
    command.set_defaults(function=_restore)
    arguments = parser.parse_args()
    return int(arguments.function(arguments))


if __name__ == "__main__":
    sys.exit(main())
