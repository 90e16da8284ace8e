"""What a service process does when it starts, and what it refuses to start on."""

import os
import subprocess
import sys

import pytest
from alembic import command

from app.database import migrations
from local.home import PROJECT

SERVICES = ["app.auth_main", "app.main", "app.admin_main"]


def start(service: str, database_url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "uvicorn", f"{service}:app", "--port", "0"],
        cwd=PROJECT,
        env=os.environ | {"DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


@pytest.mark.parametrize("service", ["app.auth_main", "app.admin_main"])
def test_login_and_administration_start_without_langgraph_and_openai(service: str) -> None:
    check = f"import sys, {service}; print(sorted({{'langgraph', 'openai'}} & sys.modules.keys()))"
    ended = subprocess.run(
        [sys.executable, "-c", check], cwd=PROJECT, capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout == "[]\n"


def test_importing_a_service_opens_nothing() -> None:
    check = (
        "import sys, socket, threading\n"
        "def refuse(*_): raise AssertionError('opened a connection')\n"
        "socket.socket.connect = refuse\n"
        "import app.auth_main, app.main, app.admin_main\n"
        "print(threading.active_count())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", check], cwd=PROJECT, capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout == "1\n"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_refuses_a_schema_that_is_behind(service: str, empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url)
    command.downgrade(migrations.alembic_config(empty_database_url), "-1")
    ended = start(service, empty_database_url)
    assert ended.returncode != 0
    assert "run `python -m app.cli migrate`" in ended.stderr


def test_the_chat_service_refuses_to_start_without_a_model(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    ended = start("app.main", database_url)
    assert ended.returncode != 0
    assert "OPENAI_API_KEY: is required" in ended.stderr
