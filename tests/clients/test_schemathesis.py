"""Schemathesis against the three services and `/v1`: all checks, with two identities.

`SCHEMATHESIS=full` runs it with more examples (`make fuzz`).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app import admin_main, auth_main, main
from app.config import Settings
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, login, register
from tests.fixtures.streaming import serving
from tests.support.provider import Provider

CREATE = {"auth": auth_main.create, "chat": main.create, "admin": admin_main.create}
IDENTITIES = {"auth": ["una", "tim", "eve"], "chat": ["una", "tim"], "admin": ["eve", "una"]}
"""Users of each service. The first two must not receive what belongs to the other one."""
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
PASSWORD = "not the one of the examples"
"""The examples of the document would change it, or erase the account."""
IS_FULL = os.environ.get("SCHEMATHESIS") == "full"
MAX_EXAMPLES = 40 if IS_FULL else 3
MAX_SECONDS = 420 if IS_FULL else 45
"""Time limit of one service. A test that takes ten minutes is ended."""


def identity(service: str, name: str, auth_client: TestClient) -> dict[str, object]:
    """Return the credentials of a user in the format of Web Fuzzing Commons."""
    if service != "auth":
        tokens = login(auth_client, name, PASSWORD).json()
        return {
            "name": name,
            "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {tokens['access_token']}"}],
        }
    # The user is logged in again after operations that end the login.
    return {
        "name": name,
        "loginEndpointAuth": {
            "endpoint": f"{AUTH}/login",
            "verb": "POST",
            "contentType": "application/x-www-form-urlencoded",
            "payloadUserPwd": {
                "username": f"{name}@example.com",  # the name may be changed
                "password": PASSWORD,
                "usernameField": "username",
                "passwordField": "password",
            },
            "token": {
                "extractFrom": "body",
                "extractSelector": "/access_token",
                "sendIn": "header",
                "sendName": "Authorization",
                "sendTemplate": "Bearer {token}",
            },
        },
    }


def configuration(service: str) -> str:
    """Return the configuration file of Schemathesis."""
    peers = json.dumps(IDENTITIES[service][:2])
    return f"""
suppress-health-check = ["all"]
seed = 1
[checks.negative_data_rejection]
# The default, and 413.
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
# It takes the first part of `body.message`, the place of an error, for a field of the body.
[phases.fuzzing.error-feedback]
enabled = false
[output.sanitization]
enabled = false
[generation]
# `tests/contract/test_malformed_operations.py` sends NUL in every field. It is not a value that a schema can refuse.
allow-x00 = false
[auth.wfc]
path = "identities.json"
peers = {peers}
"""


@pytest.mark.parametrize("service", CREATE)
def test_service_is_as_described(
    service: str, settings: Settings, tmp_path: Path, auth_client: TestClient, sql: Sql, provider: Provider
) -> None:
    pytest.importorskip("schemathesis", reason="run `make clients`")
    ids = [register(auth_client, name, password=PASSWORD).json()["id"] for name in ("una", "tim", "eve")]
    sql.do("UPDATE users SET role = 'admin' WHERE username = 'eve'")
    changes = {
        "MAIL_URL": (tmp_path / "mail").as_uri(),
        "LOGIN_ATTEMPTS_PER_ACCOUNT": 1000,
        "LOGIN_ATTEMPTS_PER_ADDRESS": 1_000_000,
    }
    settings = settings.model_copy(update=changes)
    app = CREATE[service](settings)
    # The version that the tool knows.
    document = json.loads(json.dumps(app.openapi()).replace('"itemSchema"', '"schema"')) | {"openapi": "3.1.0"}
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    identities = {"auth": [identity(service, name, auth_client) for name in IDENTITIES[service]]}
    (tmp_path / "identities.json").write_text(json.dumps(identities))
    (tmp_path / "schemathesis.toml").write_text(configuration(service))
    with serving(app) as url:
        result = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "run",
                "openapi.json",
                f"--url={url}",
                "--checks=all",
                # Replaced by checks in `schemathesis_hooks.py` that know more than the document says.
                "--exclude-checks=positive_data_acceptance,ensure_resource_availability",
                "--phases=examples,coverage,fuzzing,stateful",
                f"--max-examples={MAX_EXAMPLES}",
                f"--max-time={MAX_SECONDS}",
                "--no-color",
            ],
            cwd=tmp_path,
            env=os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS), "SCHEMATHESIS_IDENTITIES": " ".join(ids)},
            check=False,
            capture_output=True,
            text=True,
            timeout=MAX_SECONDS + 300,
        )
    if path := os.environ.get("SCHEMATHESIS_REPORT"):
        Path(f"{path}.{service}").write_text(result.stdout + result.stderr)
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
