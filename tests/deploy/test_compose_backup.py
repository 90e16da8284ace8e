"""Backup and restore of the containers: the script with real PostgreSQL servers, and a stand-in for Compose."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pytest

from local import postgres as local_postgres
from local.postgres import Postgres
from tests.fixtures.servers import temporary_home

SCRIPT = Path(__file__).parents[2] / "deploy" / "compose-backup.sh"
COMPOSE = """#!/bin/sh
# Runs the commands of containers here. Files of their /tmp and /secrets are in $HOME_OF_TEST.
here() { printf %s "$1" | sed "s#/tmp/#$HOME_OF_TEST/#g; s#/secrets/#$HOME_OF_TEST/#g"; }
case "$*" in
"up -d postgres" | *pg_isready*) ;;
"run "*auth-service*) echo the-key-in-use ;;
"run "*setup*) for last; do :; done; sh -euc "$(here "$last")" ;;
"exec -T postgres sh -c "*) sh -c "$(here "$6")" ;;
"exec -T postgres psql "*) shift 3; sed "s#/tmp/#$HOME_OF_TEST/#g" | "$@" ;;
"exec -T postgres pg_"*) shift 3; "$@" ;;
*) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""


@dataclass
class Containers:
    """A system with the owner and the database of docker-compose.yml."""

    home: Path
    url: str
    environment: dict[str, str]

    def run(self, action: str, directory: Path) -> subprocess.CompletedProcess[str]:
        arguments = ["/bin/sh", str(SCRIPT), action, str(directory)]
        return subprocess.run(
            arguments, env=self.environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        connection = psycopg2.connect(self.url)
        try:
            with connection, connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


@contextmanager
def containers() -> Iterator[Containers]:
    with temporary_home() as home:
        server = Postgres(home, options={"fsync": "off"})
        server.start()
        try:
            superuser = server._url(local_postgres._SUPERUSER, "postgres")
            connection = psycopg2.connect(superuser)
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("CREATE ROLE chatbot_user SUPERUSER LOGIN")
                cursor.execute("CREATE DATABASE chatbot_db OWNER chatbot_user")
            connection.close()
            compose = home / "compose"
            compose.write_text(COMPOSE)
            compose.chmod(0o755)
            host = parse_qs(urlsplit(superuser).query)["host"][0]
            path = f"{local_postgres.binary('psql').parent}:{os.environ['PATH']}"
            environment = {"PATH": path, "PGHOST": host, "COMPOSE": str(compose), "HOME_OF_TEST": str(home)}
            yield Containers(home, server._url("chatbot_user", "chatbot_db"), environment)
        finally:
            server.stop()


@pytest.fixture(scope="module")
def system() -> Iterator[Containers]:
    """A system with data, whose services have changed their role."""
    with containers() as first:
        first.sql(
            "CREATE ROLE chatbot_service",
            'CREATE ROLE "chatbot-service-2"',
            "CREATE TABLE users AS SELECT n, md5(n::text) AS name FROM generate_series(1, 1000) AS n",
            "CREATE TABLE empty (moment timestamptz)",
            'GRANT SELECT, INSERT ON users TO chatbot_service, "chatbot-service-2"',
            "GRANT UPDATE (name) ON users TO chatbot_service",
        )
        yield first


def test_a_backup_is_restored_into_an_empty_system_without_its_roles(system: Containers) -> None:
    backup = system.home / "backups" / "monday"
    made = system.run("backup", backup)
    assert (made.returncode, made.stderr) == (0, "")
    assert sorted(path.name for path in backup.parent.iterdir()) == ["monday"]
    modes = {path.name: path.stat().st_mode & 0o777 for path in (backup, *backup.iterdir())}
    assert modes == {"monday": 0o700, "database.dump": 0o600, "manifest": 0o600, "secret-key": 0o600}
    assert (backup / "secret-key").read_text() == "the-key-in-use\n"
    assert [line.split()[:2] for line in (backup / "manifest").read_text().splitlines()] == [
        ["empty", "0"],
        ["users", "1000"],
    ]
    with containers() as second:
        restored = second.run("restore", backup)
        assert (restored.returncode, restored.stderr) == (0, "")
        assert "all 2 tables equal" in restored.stdout
        assert second.sql("SELECT * FROM users ORDER BY n") == system.sql("SELECT * FROM users ORDER BY n")
        assert second.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'chatbot%'") == [("chatbot_user",)]
        assert (second.home / "secret_key").read_text() == "the-key-in-use"
        again = second.run("restore", backup)
        assert (again.returncode, again.stderr) == (
            1,
            "restore: the database is not empty: restore into new volumes\n",
        )


def test_a_restored_table_that_differs_is_named(system: Containers) -> None:
    backup = system.home / "changed"
    assert system.run("backup", backup).returncode == 0
    manifest = backup / "manifest"
    manifest.write_text(manifest.read_text().replace("users 1000", "users 1001"))
    with containers() as second:
        restored = second.run("restore", backup)
    assert restored.returncode == 1
    assert "users 1001" in restored.stderr
    assert "differ from the backup" in restored.stderr


def test_an_existing_backup_is_kept_and_a_failed_one_has_no_name(system: Containers) -> None:
    kept, failed = system.home / "kept", system.home / "failed"
    kept.mkdir()
    assert system.run("backup", kept).stderr == f"backup: {kept} exists already\n"
    broken = Containers(system.home, system.url, system.environment | {"PGHOST": "/nowhere"})
    assert broken.run("backup", failed).returncode != 0
    assert not failed.exists()
    assert system.run("restore", failed).stderr == f"restore: {failed} is not a complete backup\n"
