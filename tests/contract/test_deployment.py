"""Agreement of deployment files with the settings and routes."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.config import Settings
from app.config.secret_files import secret_names
from app.http.methods import METHODS, unknown_method_response
from app.http.uvicorn_protocol import ProblemProtocol

ROOT = Path(__file__).parents[2]
NAMES = set(Settings.model_fields)


def default_line(name: str, field: FieldInfo) -> str:
    default = field.default
    if field.is_required() or default is None:
        value = ""
    elif isinstance(default, list):
        value = ",".join(default)
    else:
        assert not isinstance(default, SecretStr)
        value = str(default).lower() if isinstance(default, bool) else str(default)
    return f"#{name}={value}"


def test_env_example_lists_every_setting_with_description_and_default() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    for name, field in Settings.model_fields.items():
        line = default_line(name, field)
        assert line in lines
        assert lines[lines.index(line) - 1] == f"# {field.description}"


def test_env_example_sets_nothing() -> None:
    assert all(not line or line.startswith("#") for line in (ROOT / ".env.example").read_text().splitlines())


def test_env_example_lists_every_option_of_the_gateway_and_of_compose() -> None:
    listed = set(re.findall(r"^#([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    header = (ROOT / "deploy" / "gateway" / "15-options.envsh").read_text().partition("\n\n")[0]
    options = set(re.findall(r"\b(GATEWAY_[A-Z_]+|PUBLIC_URL)\b", header))
    files = [ROOT / "docker-compose.yml", ROOT / "deploy" / "compose.tls.yml"]
    used = {name for file in files for name in re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", file.read_text())}
    assert len(options) > 5
    assert listed >= options | {name.removesuffix("_FILE") for name in used}


def test_compose_passes_every_setting() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    block = text.split("x-settings: &settings\n", 1)[1].split("\n\n", 1)[0]
    files = {f"{name}_FILE" for name in secret_names(Settings)}
    assert len(files) > 8
    assert set(re.findall(r"^  ([A-Z0-9_]+):", block, re.MULTILINE)) - {"FORWARDED_ALLOW_IPS"} == NAMES | files


def test_services_cannot_read_the_password_of_the_owner() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    services = re.findall(r"^  ([a-z-]+):\n((?:    .*\n|\n)+)", text.split("\nservices:\n", 1)[1], re.MULTILINE)
    readers = {name for name, block in services if "owner_secrets" in block or "MIGRATION_DATABASE_URL" in block}
    assert readers == {"postgres", "setup", "migrate"}
    assert 'MIGRATION_DATABASE_URL: ""' in text.split("x-settings: &settings\n", 1)[1].split("\n\n", 1)[0]


def composed() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return services


def test_every_container_is_limited_and_read_only() -> None:
    for name, service in composed().items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert {"mem_limit", "pids_limit", "ulimits"} <= service.keys(), name


def test_every_container_that_keeps_running_has_a_health_check() -> None:
    of_the_images = {"auth-service", "chat-service", "admin-service", "model"}
    without = {"setup", "migrate", "prometheus", "grafana"}
    services = composed()
    assert all("disable" not in services[name].get("healthcheck", {}) for name in of_the_images)
    assert {name for name, service in services.items() if "test" in service.get("healthcheck", {})} == (
        services.keys() - of_the_images - without
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "owner"),
        ({"DATABASE_URL": "postgresql://chatbot_service_2:x@postgres:5432/chatbot_db"}, "owner"),
        ({"DATABASE_URL_FILE": "own.txt"}, "owner"),
        ({"DATABASE_URL": "postgresql://chat:x@db.example.com/chat"}, ""),
        ({"DATABASE_URL_FILE": "other.txt"}, ""),
        ({"DATABASE_URL": "postgresql://chat:x@postgres/chat", "MIGRATION_DATABASE_URL": "other-owner"}, "other-owner"),
    ],
)
def test_containers_migrate_as_the_owner_of_their_own_database(
    tmp_path: Path, variables: dict[str, str], expected: str
) -> None:
    command = composed()["migrate"]["command"][-1].replace("$$", "$").partition("python -m app.cli migrate")[0]
    command = command.replace("/owner-secrets/", f"{tmp_path}/")
    (tmp_path / "own.txt").write_text("postgresql://chatbot_service:x@postgres:5432/chatbot_db\n")
    (tmp_path / "other.txt").write_text("postgresql://chat:x@db.example.com/chat\n")

    def run() -> subprocess.CompletedProcess[str]:
        script = f'{command}\nprintf %s "${{MIGRATION_DATABASE_URL:-}}"'
        return subprocess.run(
            ["/bin/sh", "-euc", script],
            env=variables | {"PATH": os.environ["PATH"]},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    if expected == "owner":
        assert run().returncode != 0  # `setup` has not run
    (tmp_path / "owner_url").write_text("owner")
    assert run().stdout == expected


def test_starts_create_the_first_admin_only() -> None:
    (command,) = [line for line in composed()["migrate"]["command"][-1].splitlines() if "create-admin" in line]
    assert "create-admin --first " in command


def test_every_start_command_uses_problem_protocol() -> None:
    name = f"{ProblemProtocol.__module__}:{ProblemProtocol.__name__}"
    for path in ("Dockerfile", "local/services.py", "docs/how-to/deploy.md"):
        assert name in (ROOT / path).read_text()


def test_gateway_permits_the_methods_of_the_services() -> None:
    text = (ROOT / "nginx.conf").read_text()
    assert f'"^({"|".join(METHODS)})$"' in text
    assert f'501     "{json.loads(bytes(unknown_method_response().body))["detail"]}"' in text


def test_gateway_template_has_exactly_these_variables() -> None:
    text = (ROOT / "nginx.conf").read_text()
    assert set(re.findall(r"\$\{([^}]*)\}", text)) == {
        "GATEWAY_LISTEN",
        "GATEWAY_RESOLVER",
        "AUTH_UPSTREAM",
        "CHAT_UPSTREAM",
        "ADMIN_UPSTREAM",
        "FRONTEND_ROOT",
        "GATEWAY_ANSWER_TIMEOUT",
        "GATEWAY_HSTS",
        "GATEWAY_PROXIES",
        "GATEWAY_REAL_IP",
        "GATEWAY_REDIRECT",
        "GATEWAY_TLS",
    }
    assert not re.findall(r"\$[A-Z]", text)
