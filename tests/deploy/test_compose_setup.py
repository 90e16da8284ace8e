"""The script of `setup` in docker-compose.yml generates secrets once, and takes those that an operator has changed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dotenv import dotenv_values

from local.paths import PROJECT


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    for name in ("secrets", "owner-secrets", "cors-origins"):
        (tmp_path / name).mkdir()
    return tmp_path


def run_setup(volumes: Path, **variables: str) -> dict[str, str | None]:
    """Run the script with its directories in `volumes`; return the settings that it has written."""
    service = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]["setup"]
    script = service["command"][-1].replace("$$", "$").replace("cd /secrets", f"cd {volumes}/secrets")
    for name in ("owner-secrets", "cors-origins"):
        script = script.replace(f"/{name}", f"{volumes}/{name}")
    environment = dict.fromkeys(service["environment"], "") | {"PORT": "8080"} | variables
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["/bin/sh", "-euc", script],
        env={"PATH": path, "PYTHONPATH": str(PROJECT)} | environment,
        cwd=volumes,
        check=True,
        capture_output=True,
    )
    return dotenv_values(volumes / "secrets" / ".env")


def test_secrets_are_generated_once_and_origins_are_for_the_gateway(volumes: Path) -> None:
    first = run_setup(volumes, CORS_ORIGINS="https://a.example")
    assert (volumes / "cors-origins" / "origins.conf").read_text() == '"https://a.example" "https://a.example";\n'
    assert len(first["SECRET_KEY"] or "") == 64
    assert first["OPENAI_BASE_URL"] == "http://model:8004/v1"
    assert run_setup(volumes) == first


def test_a_provider_replaces_the_local_model(volumes: Path) -> None:
    assert "LLM_MODEL" not in run_setup(volumes, OPENAI_API_KEY="sk-x")


def test_secrets_that_an_operator_writes_are_taken(volumes: Path) -> None:
    run_setup(volumes)
    owner = volumes / "owner-secrets" / "postgres_password"
    assert owner.stat().st_mode & 0o777 == 0o444
    owner.unlink()
    owner.write_text("of-the-owner")
    (volumes / "secrets" / "secret_key").write_text("k" * 40)
    (volumes / "secrets" / "database_password").write_text("of-the-services")
    settings = run_setup(volumes)
    assert settings["SECRET_KEY"] == "k" * 40
    assert settings["DATABASE_URL"] == "postgresql://chatbot_service:of-the-services@postgres:5432/chatbot_db"
    url = (volumes / "owner-secrets" / "owner_url").read_text().strip()
    assert url == "postgresql://chatbot_user:of-the-owner@postgres:5432/chatbot_db"
