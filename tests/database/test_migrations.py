"""Migrations, drift detection and the schema check at startup."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError, StartupError
from app.database import migrations, schema_version
from app.database.base import Base
from app.database.connection import Database
from app.database.drivers import sync_engine
from local.paths import PROJECT
from tests.fixtures.database import Sql


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Sql]:
    connection = Sql(empty_database_url)
    yield connection
    connection.close()


def tables(sql: Sql) -> list[str]:
    names = sql.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1")
    return [row["table_name"] for row in names]


def schema(sql: Sql) -> list[dict[str, object]]:
    """Return every column, constraint and index."""
    return sql.rows(
        """
        SELECT table_name AS name, column_name AS detail,
               concat_ws(' ', data_type, character_maximum_length, is_nullable, column_default) AS more
        FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
        WHERE table_schema = 'public' AND table_type = 'BASE TABLE'  -- views serve the previous release
        UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype <> 'n'  -- NOT NULL: see the columns
        UNION ALL SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
        ORDER BY 1, 2, 3
        """
    )


async def require_current_schema(url: str) -> None:
    settings = Settings.model_validate({"DATABASE_URL": url, "SECRET_KEY": "k" * 32})
    database = Database.from_settings(settings, application_name="test")
    try:
        await schema_version.require_current_schema(database)
    finally:
        await database.close()


def test_models_and_migrations_agree(database_url: str) -> None:
    assert migrations.find_drift(database_url) is None


def test_migrated_schema_equals_the_schema_of_the_models(
    database_url: str, empty_database_url: str, empty: Sql
) -> None:
    engine = sync_engine(empty_database_url)
    Base.metadata.create_all(engine)
    engine.dispose()
    migrated = Sql(database_url)
    try:
        of_migrations = [row for row in schema(migrated) if row["name"] != "alembic_version"]
    finally:
        migrated.close()
    assert schema(empty) == of_migrations


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE users ALTER COLUMN role SET DEFAULT 'admin'",
        "ALTER TABLE users ADD COLUMN shoe_size integer",
        "ALTER TABLE users DROP COLUMN full_name",
        "ALTER TABLE users ALTER COLUMN full_name TYPE varchar(10)",
        "DROP INDEX uq_chat_messages_session_id_active",
    ],
)
def test_drift_between_models_and_tables_is_detected(empty_database_url: str, empty: Sql, change: str) -> None:
    migrations.upgrade(empty_database_url)
    empty.do(change)
    assert migrations.find_drift(empty_database_url) is not None


def test_a_second_upgrade_changes_nothing(empty_database_url: str, empty: Sql) -> None:
    migrations.upgrade(empty_database_url)
    first = schema(empty)
    migrations.upgrade(empty_database_url)
    assert schema(empty) == first


def test_downgrade_removes_all_tables_and_upgrade_restores_them(empty_database_url: str, empty: Sql) -> None:
    migrations.upgrade(empty_database_url)
    first = schema(empty)
    command.downgrade(migrations.alembic_config(empty_database_url), "base")
    assert tables(empty) == ["alembic_version"]
    migrations.upgrade(empty_database_url)
    assert schema(empty) == first


def test_the_documented_command_makes_a_revision_with_the_next_number(database_url: str, tmp_path: Path) -> None:
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    shutil.copytree(PROJECT / "alembic", tmp_path / "alembic")
    (documented,) = re.findall(
        r"^ +\.venv/bin/alembic (revision .*)$", (PROJECT / "docs/how-to/extend/table.md").read_text(), re.MULTILINE
    )
    newest = ScriptDirectory(PROJECT / "alembic").get_current_head()
    assert newest is not None
    subprocess.run(
        [sys.executable, "-m", "alembic", *shlex.split(documented)],
        cwd=tmp_path,
        env=os.environ | {"DATABASE_URL": database_url, "PYTHONPATH": str(PROJECT)},
        check=True,
        capture_output=True,
    )
    number = f"{int(newest) + 1:04}"
    (made,) = (tmp_path / "alembic/versions").glob(f"*_{number}_what_it_does.py")
    text = made.read_text()
    assert f"\nrevision = '{number}'\ndown_revision = '{newest}'\n" in text
    # The models have not changed.
    assert text.count("    pass\n") == 2


def test_concurrent_migrations_both_succeed(empty_database_url: str, empty: Sql) -> None:
    environment = os.environ | {"DATABASE_URL": empty_database_url}
    migrate = [sys.executable, "-m", "app.cli", "migrate"]
    runs = [
        subprocess.Popen(migrate, cwd=PROJECT, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        errors = [run.communicate(timeout=180)[1] for run in runs]
    finally:
        for run in runs:
            run.kill()
    assert [(run.returncode, error) for run, error in zip(runs, errors, strict=True) if run.returncode] == []
    assert empty.value("SELECT count(*) FROM alembic_version") == 1
    assert migrations.find_drift(empty_database_url) is None


async def test_a_current_schema_is_accepted(database_url: str) -> None:
    await require_current_schema(database_url)


async def test_a_missing_schema_is_refused(empty_database_url: str) -> None:
    with pytest.raises(StartupError, match=r"python -m app\.cli migrate"):
        await require_current_schema(empty_database_url)


async def test_an_older_schema_is_refused(empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url)
    command.downgrade(migrations.alembic_config(empty_database_url), "-1")
    with pytest.raises(StartupError, match="this code needs"):
        await require_current_schema(empty_database_url)


async def test_a_newer_schema_is_accepted(empty_database_url: str, empty: Sql) -> None:
    migrations.upgrade(empty_database_url)
    empty.do("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    await require_current_schema(empty_database_url)


async def test_an_unavailable_database_is_not_a_schema_error() -> None:
    with pytest.raises(DatabaseUnavailableError):
        await require_current_schema("postgresql://chat@/chat?host=/nonexistent")


def test_the_names_of_the_files_hold_the_revisions_in_their_order() -> None:
    scripts = ScriptDirectory.from_config(migrations.alembic_config("postgresql://"))
    in_order = [script.revision for script in scripts.walk_revisions()][::-1]
    assert list(schema_version.known_revisions()) == in_order


@pytest.mark.parametrize(
    ("revision", "previous"), [("0018", "0017"), ("0022", "0021"), ("0027", "0026"), ("0032", "0031")]
)
def test_revision_that_commits_in_between_can_be_repeated(
    empty_database_url: str, empty: Sql, revision: str, previous: str
) -> None:
    config = migrations.alembic_config(empty_database_url)
    command.upgrade(config, revision)
    complete = schema(empty)
    # As if the run had been interrupted before its end.
    empty.do("UPDATE alembic_version SET version_num = %s", [previous])
    command.upgrade(config, revision)
    assert schema(empty) == complete


def test_revisions_that_commit_in_between_are_tested() -> None:
    scripts = (PROJECT / "alembic" / "versions").glob("*.py")
    committing = {path.name.split("_")[1] for path in scripts if "autocommit_block" in path.read_text()}
    assert committing == {"0018", "0022", "0027", "0032"}
