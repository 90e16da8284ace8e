"""Worker process: registration, retention, signals and start conditions."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command

from app.config import Settings
from app.database import migrations
from app.database.connection import Database
from app.worker.jobs import build_jobs
from local.paths import PROJECT
from tests.fixtures.database import Sql
from tests.fixtures.processes import WorkerProcess, environment
from tests.support.fakes import turn_recovery
from tests.support.provider import Provider
from tests.worker.abandoned_turns import INSERT_USER


def test_a_worker_registers_reports_its_jobs_and_removes_itself(settings: Settings, home: Path, sql: Sql) -> None:
    unused = Database.from_settings(settings, application_name="tests")
    names = {job.name for job in build_jobs(settings, unused, turn_recovery(unused).load_published_text)}
    assert names >= {"settle abandoned turns", "sum up usage", "purge logins"}
    worker = WorkerProcess(settings.model_copy(update={"LOG_LEVEL": "DEBUG"}), home)
    try:
        Provider.wait_until(lambda: names <= jobs_in_log(worker, "job completed"))
        assert sql.value("SELECT count(*) FROM service_instances WHERE service = 'worker'") == 1
        worker.process.terminate()
        Provider.wait_until(lambda: worker.exit_code() is not None)
    finally:
        worker.stop()
    assert sql.value("SELECT count(*) FROM service_instances WHERE service = 'worker'") == 0
    jobs = sql.rows("SELECT name, rounds > 0 AS done, failures > 0 AS has_failed FROM worker_jobs")
    assert names <= {row["name"] for row in jobs if row["done"]}
    # On a busy machine a job may have to wait for the database.
    failed = jobs_in_log(worker, "job failed") | jobs_in_log(worker, "job waiting for database")
    assert {row["name"] for row in jobs if row["has_failed"]} == failed


def jobs_in_log(worker: WorkerProcess, message: str) -> set[str]:
    return {line["job"] for line in worker.log_lines() if line["message"] == message}


def test_a_worker_deletes_sessions_after_the_configured_age(settings: Settings, home: Path, sql: Sql) -> None:
    sql.do(
        "INSERT INTO chat_sessions (uuid, user_id, title, updated_at) SELECT gen_random_uuid(), %s, days::text,"
        " now() - days * interval '1 day' FROM generate_series(0, 4) AS days",
        [sql.value(INSERT_USER)],
    )
    worker = WorkerProcess(settings.model_copy(update={"RETENTION_SESSION_DAYS": 3}), home)
    try:
        left = "SELECT string_agg(title, '' ORDER BY title) FROM chat_sessions"
        Provider.wait_until(lambda: sql.value(left) == "012")
    finally:
        worker.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_shuts_down_cleanly_on_a_signal(worker: WorkerProcess, number: signal.Signals) -> None:
    worker.wait_for("worker started")
    worker.process.send_signal(number)
    Provider.wait_until(lambda: worker.exit_code() is not None)
    assert worker.exit_code() == 0
    assert worker.log_lines()[-1]["message"] == "worker stopped"


def test_a_worker_does_not_start_on_an_outdated_schema(settings: Settings, empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url)
    command.downgrade(migrations.alembic_config(empty_database_url), "-1")
    completed = subprocess.run(
        [sys.executable, "-m", "app.worker"],
        cwd=PROJECT,
        env=environment(settings) | {"DATABASE_URL": empty_database_url},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert completed.returncode == 1
    assert "run `python -m app.cli migrate`" in completed.stderr
    assert "Traceback" not in completed.stderr


def test_a_worker_imports_neither_langgraph_nor_the_model_client() -> None:
    code = "import sys, app.worker.__main__; print(sorted({'langgraph', 'openai', 'fastapi'} & sys.modules.keys()))"
    completed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT / "tests",
        env=os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert completed.stdout == "[]\n"
