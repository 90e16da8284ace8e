"""The TypeScript client that hey-api generates from the document of all services, checked by the strict compiler."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app import auth_main, main
from app.config import Settings
from local.npm import FRONTEND, npm_command
from tests.clients.conftest import tried
from tests.clients.test_api_document import DOCUMENT
from tests.fixtures.database import Sql
from tests.fixtures.services import PASSWORD
from tests.fixtures.streaming import serving
from tests.support.provider import Provider

SOURCES = Path(__file__).parent / "typescript"
GENERATOR = FRONTEND / "node_modules" / "@hey-api" / "openapi-ts" / "bin" / "run.js"
COMPILER = FRONTEND / "node_modules" / "typescript" / "bin" / "tsc"


def node(directory: Path, *arguments: str | Path) -> str:
    """Run Node in a directory, and return what it writes."""
    result = subprocess.run(
        [npm_command()[0], *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"]},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@tried("`@hey-api/openapi-ts` (TypeScript, strict)", "generated client registers, logs in, asks and reads")
def test_generated_client(
    tmp_path: Path, settings: Settings, sql: Sql, provider: Provider, cheap_passwords: None
) -> None:
    if not GENERATOR.exists():
        pytest.skip("its packages are not installed: run `make clients`")
    shutil.copytree(SOURCES, tmp_path, dirs_exist_ok=True)
    node(tmp_path, GENERATOR, "-i", DOCUMENT, "-o", "api", "-c", "@hey-api/client-fetch")
    node(tmp_path, COMPILER, "-p", ".")
    with serving(auth_main.create(settings)) as auth_url, serving(main.create(settings)) as chat_url:
        assert node(tmp_path, "out/run.js", auth_url, chat_url, PASSWORD) == "Hello. 2 unauthorized\n"
