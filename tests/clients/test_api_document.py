"""The OpenAPI document of all services: valid, usable by generators, and true."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app import auth_main, main
from app.config import Settings
from local.npm import npm_command
from local.paths import PROJECT
from tests.clients.conftest import JAVASCRIPT, client_name, tried
from tests.fixtures.database import Sql
from tests.fixtures.services import PASSWORD
from tests.fixtures.streaming import serving
from tests.support.provider import Provider

DOCUMENT = PROJECT / "docs" / "openapi" / "openapi.json"
BINARIES = Path(sys.executable).parent


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DOCUMENT.read_text())
    return loaded


def test_document_is_valid(document: dict[str, Any]) -> None:
    pytest.importorskip("openapi_spec_validator", reason="run `make clients`").validate(document)


def test_names_are_unique_and_everything_is_declared(document: dict[str, Any]) -> None:
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids) > 100
    assert {tag for operation in operations for tag in operation["tags"]} == {tag["name"] for tag in document["tags"]}
    assert all("security" in operation for operation in operations)
    references = {part for part in json.dumps(document).split('"') if part.startswith("#/components/schemas/")}
    assert {reference.rpartition("/")[2] for reference in references} <= document["components"]["schemas"].keys()
    assert "itemSchema" not in DOCUMENT.read_text()
    assert document["servers"]
    assert {"contact", "license", "version"} <= document["info"].keys()


NOT_RETURNED = {
    "cors_refused",
    "internal_error",
    "method_not_allowed",
    "not_implemented",
    "request_header_fields_too_large",
    "stream_ended",
}
"""Codes of preflight requests, of unknown methods, of headers that are too long, of unexpected errors and of events."""


def test_every_error_code_of_the_code_is_listed(document: dict[str, Any]) -> None:
    raised: set[str] = set()
    for part in ("admin", "auth", "chat", "core", "http", "services/limits"):
        for path in (PROJECT / "app" / part).rglob("*.py"):
            calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
            raised |= {
                str(keyword.value.value)
                for call in calls
                if ast.unparse(call.func).endswith(("Error", "problem_response", "Limiter"))
                for keyword in call.keywords
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
            }
    listed = {
        code
        for path in document["paths"].values()
        for operation in path.values()
        for status, response in operation["responses"].items()
        if status >= "400"
        for code in response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]
    }
    assert len(raised) > 60
    assert raised - NOT_RETURNED <= listed


def test_linter_finds_no_error() -> None:
    linter = JAVASCRIPT / "node_modules" / "@redocly" / "cli" / "bin" / "cli.js"
    if not linter.exists():
        pytest.skip("its packages are not installed: run `make clients`")
    result = subprocess.run(
        [str(npm_command()[0]), str(linter), "lint", str(DOCUMENT), "--format=summary"],
        cwd=JAVASCRIPT,
        env={"PATH": os.environ["PATH"], "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr


SCRIPT = """
import sys
from api import AuthenticatedClient, Client
from api.api.auth import login, register
from api.api.chat import chat_get_session, create_session, send_message
from api.models import LoginForm, MessageCreate, SessionCreate, UserCreate

auth_url, chat_url, password = sys.argv[1:]
auth = Client(base_url=auth_url, raise_on_unexpected_status=True)
user = register.sync(client=auth, body=UserCreate(email="eve@example.com", username="eve", password=password))
tokens = login.sync(client=auth, body=LoginForm(username="eve", password=password))
chat = AuthenticatedClient(base_url=chat_url, token=tokens.access_token, raise_on_unexpected_status=True)
session = create_session.sync(client=chat, body=SessionCreate(title="Generated"))
turn = send_message.sync(session.session_id, client=chat, body=MessageCreate(message="Hi"))
read = chat_get_session.sync(session.session_id, client=chat)
print(turn.ai_response.content, len(read.messages))
"""


@tried(client_name("openapi-python-client"), "generated client registers, logs in, asks and reads")
def test_generated_client(
    tmp_path: Path, settings: Settings, sql: Sql, provider: Provider, cheap_passwords: None
) -> None:
    pytest.importorskip("openapi_python_client", reason="run `make clients`")
    configuration = tmp_path / "config.yml"
    configuration.write_text("project_name_override: api\npackage_name_override: api\npost_hooks: []\n")
    command = [str(BINARIES / "openapi-python-client"), "generate", "--path", str(DOCUMENT), "--meta", "none"]
    generated = subprocess.run(
        [*command, "--config", str(configuration), "--output-path", str(tmp_path / "api")],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert generated.returncode == 0, generated.stdout + generated.stderr
    with serving(auth_main.create(settings)) as auth_url, serving(main.create(settings)) as chat_url:
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, auth_url, chat_url, PASSWORD],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "Hello. 2\n"
