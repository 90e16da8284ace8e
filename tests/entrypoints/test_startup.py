"""Start of the service processes, and the conditions under which it fails."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from alembic import command
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app import admin_main, auth_main, main
from app.config import Settings
from app.core.exceptions import StartupError
from app.database import migrations
from local.paths import PROJECT


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT / "tests",  # a directory without a developer's .env
        # Without the safe path, `tests/http` would hide the standard library's `http`.
        env=os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONSAFEPATH": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def old_database_url(empty_database_url: str) -> str:
    """A database whose schema is one revision behind."""
    migrations.upgrade(empty_database_url)
    command.downgrade(migrations.alembic_config(empty_database_url), "-1")
    return empty_database_url


def test_imports_open_no_connection_and_only_chat_imports_langgraph_and_openai() -> None:
    ended = run(
        "-c",
        "import socket, sys, threading\n"
        "def refuse(*_): raise AssertionError('opened a connection')\n"
        "socket.socket.connect = refuse\n"
        "def heavy(): return sorted({'langgraph', 'openai'} & sys.modules.keys())\n"
        "import app.auth_main, app.admin_main\n"
        "print(heavy())\n"
        "import app.main\n"
        "print(heavy(), threading.active_count())\n",
    )
    assert ended.stderr == ""
    assert ended.stdout == "[]\n['langgraph', 'openai'] 1\n"


@pytest.mark.parametrize("create", [auth_main.create, main.create, admin_main.create], ids=["auth", "chat", "admin"])
def test_services_refuse_outdated_schema(
    settings: Settings, old_database_url: str, create: Callable[[Settings], FastAPI]
) -> None:
    service = create(settings.model_copy(update={"DATABASE_URL": old_database_url}))
    with pytest.raises(StartupError, match="this code needs"), TestClient(service):
        pass


def test_failed_start_ends_process_with_instruction(old_database_url: str) -> None:
    ended = run("-m", "uvicorn", "app.admin_main:app", "--port", "0", DATABASE_URL=old_database_url)
    assert ended.returncode != 0
    assert "run `python -m app.cli migrate`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_chat_service_requires_a_model_provider(database_url: str) -> None:
    ended = run("-m", "uvicorn", "app.main:app", "--port", "0", DATABASE_URL=database_url, OPENAI_BASE_URL="")
    assert ended.returncode != 0
    assert "OPENAI_API_KEY: is required" in ended.stderr
    assert "Traceback" not in ended.stderr
