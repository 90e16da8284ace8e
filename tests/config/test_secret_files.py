"""Secrets that are read from files."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.config import Settings
from app.config.secret_files import MAX_BYTES, secret_names
from local import environment as local_environment
from local.paths import PROJECT
from tests.config.test_settings import GOOD, SERVICES

VALUES = {
    "DATABASE_URL": "postgresql://user:pw@localhost/chat",
    "REDIS_URL": "rediss://:pw@localhost:6380/1",
    "REDIS_PASSWORD": "redis-password",
    "SECRET_KEY": "a key of the test run, of no use elsewhere",
    "SECRET_KEY_PREVIOUS": "another key of the test run, of no use elsewhere".replace(" ", "-"),
    "MAIL_URL": "smtp://user:pw@localhost:587",
    "OPENAI_API_KEY": "sk-from-a-file",
    "MIGRATION_DATABASE_URL": "postgresql://owner:secret@127.0.0.1/chat",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1?key=secret",
    "WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
}


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directory without a `.env` file, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def plain(settings: Settings, name: str) -> object:
    value = getattr(settings, name)
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def test_every_secret_setting_has_a_value_above() -> None:
    assert set(secret_names(Settings)) == VALUES.keys()


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_every_secret_is_read_from_its_file(workdir: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    for name, value in VALUES.items():
        (workdir / name).write_bytes((value + end).encode())
        monkeypatch.setenv(f"{name}_FILE", str(workdir / name))
    settings = Settings()
    assert {name: plain(settings, name) for name in VALUES} == VALUES


def test_a_variable_replaces_what_the_env_file_says(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "key").write_text("k" * 40)
    (workdir / ".env").write_text("SECRET_KEY=" + "e" * 40 + "\nDATABASE_URL=postgresql://a@b/c\n")
    monkeypatch.setenv("SECRET_KEY_FILE", str(workdir / "key"))
    assert Settings().secret_keys == ("k" * 40,)
    (workdir / ".env").write_text(f"SECRET_KEY_FILE={workdir / 'key'}\nDATABASE_URL=postgresql://a@b/c\n")
    monkeypatch.delenv("SECRET_KEY_FILE")
    assert Settings().secret_keys == ("k" * 40,)
    monkeypatch.setenv("SECRET_KEY", "v" * 40)
    assert Settings().secret_keys == ("v" * 40,)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _path: None, "the file cannot be read"),
    "directory": (lambda path: path.mkdir(), "the file cannot be read"),
    "empty": (lambda path: path.write_text("\n"), "the file is empty"),
    "large": (lambda path: path.write_bytes(b"x" * (MAX_BYTES + 1)), "the file is larger than 65536 bytes"),
    "binary": (lambda path: path.write_bytes(b"\xff\xfe" * 20), "the file is not text in UTF-8"),
    "nul": (lambda path: path.write_bytes(b"\0" * 40), "the file is not text in UTF-8"),
}


@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL"])
@pytest.mark.parametrize(("write", "reason"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_named_without_its_path(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[Path], object], reason: str
) -> None:
    write(workdir / "file")
    monkeypatch.setenv(f"{name}_FILE", str(workdir / "file"))
    with pytest.raises(ValueError, match=f"{name}_FILE: {reason}") as raised:
        Settings()
    assert str(workdir) not in str(raised.value)


@pytest.mark.parametrize("module", SERVICES)
def test_both_a_value_and_a_file_end_the_start_with_one_line(tmp_path: Path, module: str) -> None:
    (tmp_path / "key").write_text(GOOD["SECRET_KEY"])
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **GOOD}
    result = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        env=variables | {"SECRET_KEY_FILE": str(tmp_path / "key")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == "configuration: SECRET_KEY, SECRET_KEY_FILE: set one of them, not both\n"


def test_local_stack_reads_secret_files(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "url").write_text("postgresql://a@b/c\n")
    monkeypatch.setattr(local_environment, "PROJECT", workdir)
    monkeypatch.setenv("DATABASE_URL_FILE", str(workdir / "url"))
    given = local_environment.user_settings()
    assert given["DATABASE_URL"] == "postgresql://a@b/c"
    assert "DATABASE_URL_FILE" not in given
    monkeypatch.setenv("DATABASE_URL", "postgresql://x@y/z")
    with pytest.raises(SystemExit, match="DATABASE_URL, DATABASE_URL_FILE: set one"):
        local_environment.user_settings()


@pytest.mark.parametrize("keys", ["short", "k" * 40 + " short"])
def test_every_previous_key_must_be_long_enough(workdir: Path, monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SECRET_KEY_PREVIOUS", keys)
    with pytest.raises(ValueError, match="SECRET_KEY_PREVIOUS"):
        Settings()
