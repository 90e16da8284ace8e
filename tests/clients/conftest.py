"""Clients of the API, tried against a running chat service.

`CLIENTS=write` writes docs/reference/clients.md from the results.
"""

import json
import os
import subprocess
from collections.abc import Callable, Generator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from local.npm import npm_command
from local.paths import PROJECT
from tests.fixtures.services import AUTH, User
from tests.fixtures.streaming import ChatServer

JAVASCRIPT = Path(__file__).parent / "javascript"
DOCUMENT = PROJECT / "docs" / "reference" / "clients.md"
RESULTS: dict[tuple[str, str], str] = {}
"""Result of each client and feature that was tried."""


def tried(client: str, feature: str) -> pytest.MarkDecorator:
    """Mark a test that tries a feature of a client, for the table of clients."""
    return pytest.mark.tried(client, feature)


def client_name(package: str) -> str:
    """Return a package with its version. JavaScript packages have a version in package.json."""
    versions = json.loads((JAVASCRIPT / "package.json").read_text())["dependencies"]
    if package in versions and package != "openai":
        return f"`{package}` {versions[package]} (JavaScript)"
    try:
        return f"`{package}` {version(package)} (Python)"
    except PackageNotFoundError:
        return f"`{package}` (Python)"


OPENAI_JS = f"`openai` {json.loads((JAVASCRIPT / 'package.json').read_text())['dependencies']['openai']} (JavaScript)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Collect the result of a test that is marked with `tried`."""
    report = yield
    marker = item.get_closest_marker("tried")
    if marker is not None and report.when == "call":
        key = (marker.args[0], marker.args[1])
        # A feature that several tests try works if all of them pass.
        if RESULTS.get(key, "works") == "works":
            RESULTS[key] = "works" if report.passed else report.outcome
    return report


def pytest_sessionfinish() -> None:
    """Write the table of clients."""
    if os.environ.get("CLIENTS") != "write" or not RESULTS:
        return
    head, marker, table = DOCUMENT.read_text().partition("<!-- results -->\n")
    # Rows of tests that have not run now keep their results.
    earlier = (line.strip("| ").split(" | ") for line in table.splitlines()[3:])
    results = {(client, feature): result for client, feature, result in earlier} | RESULTS
    rows = [f"| {client} | {feature} | {result} |" for (client, feature), result in sorted(results.items())]
    table = "\n".join(["| Client | Tried | Result |", "|---|---|---|", *rows])
    DOCUMENT.write_text(f"{head}{marker}\n{table}\n")


@pytest.fixture
def base_url(server: ChatServer) -> str:
    """Base URL of the OpenAI-compatible API."""
    return str(server.http.base_url.copy_with(path="/v1"))


@pytest.fixture
def api_key(auth_client: TestClient, ada: User) -> str:
    """API key of `ada` for that API only."""
    new = {"name": "client", "scopes": ["chat:completions"]}
    return str(auth_client.post(f"{AUTH}/api-keys", json=new, headers=ada.headers).json()["key"])


@pytest.fixture
def run_javascript() -> Callable[..., Any]:
    """Function that runs a script in Node with some environment variables, and returns the JSON that it writes."""
    if not (JAVASCRIPT / "node_modules" / "openai").is_dir():
        pytest.skip("its packages are not installed: run `make clients`")

    def run(script: str, **environment: str) -> Any:  # noqa: ANN401 - any JSON document
        node = str(npm_command()[0])
        result = subprocess.run(
            [node, script],
            cwd=JAVASCRIPT,
            env={"PATH": os.environ["PATH"], "NODE_NO_WARNINGS": "1", **environment},
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads(result.stdout)

    return run
