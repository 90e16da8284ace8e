"""Settings that cannot be used, at every entry point: one line on standard error, without a traceback or a secret."""

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local.paths import PROJECT

CANARY = "canary-7f3a"
GOOD = {
    "DATABASE_URL": f"postgresql://u:{CANARY}@127.0.0.1:9/d",
    "SECRET_KEY": CANARY * 4,
    "OPENAI_API_KEY": f"sk-{CANARY}",
    "REDIS_URL": f"redis://:{CANARY}@127.0.0.1:9",
}
ENTRIES = {
    "auth": ("uvicorn", "app.auth_main:app", "--uds", "never.sock"),
    "chat": ("uvicorn", "app.main:app", "--uds", "never.sock"),
    "admin": ("uvicorn", "app.admin_main:app", "--uds", "never.sock"),
    "worker": ("app.worker",),
    "migrate": ("app.cli", "migrate"),
    "check-schema": ("app.cli", "check-schema"),
    "doctor": ("app.cli", "doctor"),
    "gateway-origins": ("app.cli", "gateway-origins"),
}
CASES = {
    "UTF-16": (f"SECRET_KEY={CANARY}\n".encode("utf-16"), {}, tuple(ENTRIES), ".env: is not text in UTF-8"),
    "open quote": (f'SECRET_KEY="{CANARY}\n'.encode(), {}, ("worker", "doctor"), ".env: line 1 is not NAME=value"),
    "database": (
        f"DATABASE_URL=postgresql://u:{CANARY}@h/d?pgbouncer={CANARY}".encode(),
        {"DATABASE_URL": ""},
        ("auth", "worker", "migrate", "check-schema"),
        "DATABASE_URL: pgbouncer: is not supported",
    ),
    "key": (b"", {"OPENAI_API_KEY": f"sk-{CANARY}\n{CANARY}"}, ("chat", "doctor"), "OPENAI_API_KEY: must consist of"),
    "provider": (
        b"",
        {"LLM_PROVIDERS": f'[{{"name": "a", "{CANARY}\\n": 1}}]'},
        ("chat", "doctor"),
        "LLM_PROVIDERS.0.?: Extra inputs are not permitted",
    ),
    "nested list": (b"", {"CORS_ORIGINS": "[" * 50_000}, ("admin", "gateway-origins"), "CORS_ORIGINS: not a valid"),
    "log format": (b"", {"LOG_JSON": "false", "LOG_FORMAT": f"{CANARY} %(x)s"}, ("auth",), "LOG_FORMAT: must be"),
}
"""Content of `.env`, variables, entry points that read the setting, and the beginning of the line."""


def run(entry: str, directory: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run an entry point in a directory, with nothing but these settings."""
    names: dict[str, str] = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, "-m", *ENTRIES[entry]],
        cwd=directory,
        env={**names, **GOOD, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("env_file", "environment", "entries", "line"), CASES.values(), ids=CASES)
def test_a_setting_that_cannot_be_used_ends_every_entry_point_with_one_line(
    tmp_path: Path, env_file: bytes, environment: dict[str, str], entries: tuple[str, ...], line: str
) -> None:
    (tmp_path / ".env").write_bytes(env_file)
    with ThreadPoolExecutor(2) as pool:
        ended = dict(zip(entries, pool.map(lambda entry: run(entry, tmp_path, environment), entries), strict=True))
    for entry, process in ended.items():
        assert process.returncode != 0, entry
        assert process.stdout == "", entry
        assert process.stderr.startswith(f"configuration: {line}"), (entry, process.stderr)
        assert process.stderr.count("\n") == 1, (entry, process.stderr)
        assert CANARY not in process.stderr, entry
