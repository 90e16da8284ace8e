"""Agreement of deployment files with the settings and routes."""

import json
import re
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.config import Settings
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


def test_compose_passes_every_setting() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    block = text.split("x-settings: &settings\n", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"^  ([A-Z0-9_]+):", block, re.MULTILINE)) - {"FORWARDED_ALLOW_IPS"} == NAMES


def test_every_start_command_uses_problem_protocol() -> None:
    name = f"{ProblemProtocol.__module__}:{ProblemProtocol.__name__}"
    for path in ("Dockerfile", "local/services.py", "docs/operations.md"):
        assert name in (ROOT / path).read_text()


def test_gateway_permits_the_methods_of_the_services() -> None:
    text = (ROOT / "nginx.conf").read_text()
    assert f'"^({"|".join(METHODS)})$"' in text
    assert f'501     "{json.loads(bytes(unknown_method_response().body))["detail"]}"' in text


def test_gateway_template_has_exactly_six_variables() -> None:
    text = (ROOT / "nginx.conf").read_text()
    assert set(re.findall(r"\$\{([^}]*)\}", text)) == {
        "GATEWAY_LISTEN",
        "GATEWAY_RESOLVER",
        "AUTH_UPSTREAM",
        "CHAT_UPSTREAM",
        "ADMIN_UPSTREAM",
        "FRONTEND_ROOT",
    }
    assert not re.findall(r"\$[A-Z]", text)
