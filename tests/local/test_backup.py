"""Rehearsal of a backup and its restore into an empty system."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app import auth_main, main
from app.config import Settings
from app.database import migrations
from local import backup as backups
from local.backup import BackupError, backup, restore
from local.postgres import _SUPERUSER
from local.stack import Stack
from tests.fixtures.servers import temporary_home
from tests.fixtures.services import AUTH, CHAT, login, register
from tests.support.provider import Provider

PORT = 18_080


@contextmanager
def new_system() -> Iterator[Stack]:
    """A stack with a local PostgreSQL that has not been started."""
    with temporary_home() as home:
        yield Stack(home, PORT, {"REDIS_URL": "redis://127.0.0.1:1", "MAIL_URL": "file:///tmp", "OPENAI_API_KEY": "x"})


@contextmanager
def services(stack: Stack, settings: Settings) -> Iterator[tuple[TestClient, TestClient]]:
    """The auth and the chat service on the database of a stack, which is running meanwhile."""
    assert stack.postgres is not None
    key = SecretStr((stack.home / "secret-key").read_text().strip())
    changed = settings.model_copy(update={"DATABASE_URL": stack.postgres.url(), "SECRET_KEY": key})
    stack.postgres.start()
    try:
        migrations.upgrade(stack.postgres.url())
        with ExitStack() as opened:
            yield tuple(opened.enter_context(TestClient(module.create(changed))) for module in (auth_main, main))  # type: ignore[misc]
    finally:
        stack.postgres.stop()


def fill(stack: Stack) -> None:
    """Create a table with a row."""
    assert stack.postgres is not None
    stack.postgres.start()
    connection = psycopg2.connect(stack.postgres.url())
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE users AS SELECT n, md5(n::text) FROM generate_series(1, 1000) AS n")
    connection.close()
    stack.postgres.stop()


def test_logins_conversations_and_streams_continue_after_a_restore(
    settings: Settings, cheap_passwords: None, provider: Provider
) -> None:
    with new_system() as first, new_system() as second:
        with services(first, settings) as (auth, chat):
            register(auth, "ada")
            tokens = login(auth, "ada").json()
            headers = {"Authorization": f"Bearer {tokens['access_token']}"}
            session = chat.post(f"{CHAT}/sessions", json={}, headers=headers).json()["session_id"]
            messages = f"{CHAT}/sessions/{session}/messages"
            answer = chat.post(messages, json={"message": "Hi"}, headers=headers).json()["ai_response"]
        source = backup(first)
        manifest = restore(second, source)
        assert int(manifest["tables"]["chat_messages"]["rows"]) == 2
        assert (second.home / "secret-key").read_text() == (first.home / "secret-key").read_text()
        with services(second, settings) as (auth, chat):
            assert auth.get(f"{AUTH}/me", headers=headers).json()["username"] == "ada"
            refreshed = auth.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]})
            headers = {"Authorization": f"Bearer {refreshed.json()['access_token']}"}
            assert login(auth, "ada").status_code == 200
            resumed = chat.get(f"{messages}/{answer['id']}/events", headers=headers)
            assert "event: message.completed" in resumed.text
            assert answer["content"] in resumed.text
            assert chat.post(messages, json={"message": "Again"}, headers=headers).status_code == 200


def test_a_backup_is_private_and_a_restore_needs_an_empty_database() -> None:
    with new_system() as stack:
        fill(stack)
        source = backup(stack)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (source, *source.iterdir())}
        assert modes == {source.name: 0o700, "database.dump": 0o600, "manifest.json": 0o600, "secret-key": 0o600}
        with pytest.raises(BackupError, match="exists already"):
            backup(stack, source)
        with pytest.raises(BackupError, match="the database is not empty"):
            restore(stack, source)
        with new_system() as other:
            (source / "database.dump").write_bytes((source / "database.dump").read_bytes()[:5000])
            with pytest.raises(BackupError, match="pg_restore failed"):
                restore(other, source)
            (source / "manifest.json").unlink()
            with pytest.raises(BackupError, match="not a complete backup"):
                restore(other, source)


def test_a_restored_table_that_differs_is_named() -> None:
    with new_system() as stack, new_system() as other:
        fill(stack)
        source = backup(stack)
        manifest: dict[str, Any] = json.loads((source / "manifest.json").read_text())
        manifest["tables"]["users"]["checksum"] = "1"
        (source / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(BackupError, match=r"differ from the backup: users$"):
            restore(other, source)


def test_a_role_of_the_backup_that_does_not_exist_is_named() -> None:
    with new_system() as stack, new_system() as other:
        fill(stack)
        assert stack.postgres is not None
        stack.postgres.start()
        database = urlsplit(stack.postgres.url()).path.removeprefix("/")
        connection = psycopg2.connect(stack.postgres._url(_SUPERUSER, database))
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE ROLE chat_service_2")
            cursor.execute("GRANT SELECT ON users TO chat_service_2")
        connection.close()
        stack.postgres.stop()
        with pytest.raises(BackupError, match='role "chat_service_2" does not exist'):
            restore(other, backup(stack))


def test_checksums_see_every_change(database_url: str) -> None:
    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE public.checked (number int, text text)")
            found = []
            for statement in (
                "INSERT INTO checked VALUES (1, 'a'), (2, NULL)",
                "UPDATE checked SET text = 'b' WHERE number = 1",
                "UPDATE checked SET text = '' WHERE number = 2",
                "INSERT INTO checked VALUES (2, '')",
            ):
                cursor.execute(statement)
                found.append(tuple(backups.table_checksums(cursor)["checked"].values()))
            assert len(set(found)) == len(found)
    finally:
        connection.rollback()
        connection.close()
