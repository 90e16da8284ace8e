"""Backup and restore of a local stack, or of the database that its settings name.

A backup is a directory: `database.dump` (custom format of pg_dump), `manifest.json` with the number and a checksum of
the rows of each table, taken from the same snapshot, and `secret-key`.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from local.environment import write_private
from local.lock import hold_lock, running_stack
from local.paths import display_path, private_directory
from local.postgres import Postgres, binary
from local.stack import Stack

_DUMP, _MANIFEST, _SECRET_KEY = "database.dump", "manifest.json", "secret-key"


class BackupError(Exception):
    """A backup cannot be made or restored; the text is one line for the operator."""


def backup(stack: Stack, directory: Path | None = None) -> Path:
    """Write a backup and return its directory, by default `backups/TIME` in the state directory.

    Raises:
        BackupError: the directory exists, PostgreSQL is not reachable, or pg_dump failed.

    """
    target = directory or stack.home / "backups" / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    if target.exists():
        raise BackupError(f"{display_path(target)} exists already")
    private_directory(target.parent)
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    private_directory(unfinished)
    with _database(stack) as url, _connection(url) as connection, connection.cursor() as cursor:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = _row(cursor)
        dump = unfinished / _DUMP
        _run("pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={dump}", f"--dbname={url}")
        dump.chmod(0o600)
        manifest = {"made_at": datetime.now(UTC).isoformat(), "tables": table_checksums(cursor)}
    write_private(unfinished / _MANIFEST, json.dumps(manifest, indent=2) + "\n")
    if secret_key := stack.environment.get("SECRET_KEY"):
        write_private(unfinished / _SECRET_KEY, f"{secret_key}\n")
    unfinished.rename(target)
    return target


def restore(stack: Stack, source: Path) -> dict[str, Any]:
    """Restore a backup into an empty database, compare all tables with the manifest, and return the manifest.

    The secret key of the backup becomes the one of the stack, unless a setting replaces it.

    Raises:
        BackupError: there is no complete backup, the stack is running, the database is not empty, pg_restore failed, or
            the restored tables differ.

    """
    try:
        manifest: dict[str, Any] = json.loads((source / _MANIFEST).read_text())
    except (OSError, ValueError):
        raise BackupError(f"{display_path(source)} is not a complete backup") from None
    if running_stack(stack.home) is not None:
        raise BackupError("the stack is running: `make down` stops it")
    with _database(stack) as url:
        with _connection(url) as connection, connection.cursor() as cursor:
            if table_names(cursor):
                raise BackupError("the database is not empty: restore into a new one")
        # One transaction: after a failure, the database is empty as before.
        options = ("--single-transaction", "--exit-on-error", "--no-owner")
        _run("pg_restore", *options, f"--dbname={url}", str(source / _DUMP))
        with _connection(url) as connection, connection.cursor() as cursor:
            restored = table_checksums(cursor)
    if differing := sorted(
        name
        for name in manifest["tables"].keys() | restored.keys()
        if manifest["tables"].get(name) != restored.get(name)
    ):
        raise BackupError(f"the restored tables differ from the backup: {', '.join(differing)}")
    if (source / _SECRET_KEY).exists():
        write_private(stack.home / "secret-key", (source / _SECRET_KEY).read_text())
    return manifest


def table_names(cursor: Any) -> list[str]:  # noqa: ANN401 - psycopg2 has no types
    """Return the names of the tables in the schema `public`."""
    cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
    return sorted(name for (name,) in cursor.fetchall())


def table_checksums(cursor: Any) -> dict[str, dict[str, str]]:  # noqa: ANN401 - as above
    """Return the number of rows of each table, and a checksum of them that does not depend on their order."""
    found = {}
    for name in table_names(cursor):
        cursor.execute(
            sql.SQL(
                "SELECT count(*)::text, coalesce(sum(('x' || left(md5(t::text), 16))::bit(64)::bigint), 0)::text"
                " FROM {} AS t"
            ).format(sql.Identifier(name))
        )
        rows, checksum = _row(cursor)
        found[name] = {"rows": rows, "checksum": checksum}
    return found


@contextmanager
def _database(stack: Stack) -> Iterator[str]:
    """Give the URL of the database. The local server is started for the block if it does not run."""
    if stack.postgres is None or running_stack(stack.home) is not None:
        yield stack.owner_database_url
        return
    with hold_lock(stack.home, stack.url), _running(stack.postgres):
        yield stack.owner_database_url


@contextmanager
def _running(postgres: Postgres) -> Iterator[None]:
    postgres.start()
    try:
        yield
    finally:
        postgres.stop()


@contextmanager
def _connection(url: str) -> Iterator[Any]:
    try:
        connection = psycopg2.connect(url, connect_timeout=5)
    except psycopg2.OperationalError:
        raise BackupError(
            "PostgreSQL is unreachable or refuses the connection: check DATABASE_URL and MIGRATION_DATABASE_URL"
        ) from None
    try:
        with connection.cursor() as cursor:
            # As the values are written, whatever the defaults of the role are.
            cursor.execute("SET timezone = 'UTC'; SET extra_float_digits = 3; SET search_path = public")
        connection.commit()
        yield connection
    finally:
        connection.close()


def _row(cursor: Any) -> tuple[Any, ...]:  # noqa: ANN401 - as above
    row: tuple[Any, ...] = cursor.fetchone()
    return row


def _run(program: str, *arguments: str) -> None:
    environment: Mapping[str, str] = os.environ | {"PGCONNECT_TIMEOUT": "5"}
    result = subprocess.run([binary(program), *arguments], env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [str(result.returncode)]
        # pg_restore prints the entry before the error.
        raise BackupError(f"{program} failed: {next((line for line in lines if 'error:' in line), lines[0])}")
