"""The requests in the how-to guides, run against the whole system."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from local.paths import PROJECT
from local.stack import Stack
from tests.e2e.conftest import ADMIN_PASSWORD, UserClient, gateway_client
from tests.e2e.test_documented_examples import run

pytestmark = pytest.mark.e2e

GUIDES = PROJECT / "docs" / "how-to"
PAGES = ("admins", "analytics", "email", "models", "receive-webhooks", "registration", "secrets", "webhooks")
_BLOCK = re.compile(r"^( *)(?:1\. )?```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def requests_of(page: str) -> str:
    """Return the blocks of a guide that consist of requests, in the form of the tutorials."""
    blocks = [textwrap.dedent(code) for _, code in _BLOCK.findall((GUIDES / f"{page}.md").read_text())]
    return "\n".join(f"```sh\n{code}```" for code in blocks if code.startswith("curl ") and "$API" in code)


@pytest.mark.parametrize("page", PAGES)
def test_requests_of_a_guide_succeed(
    page: str, stack: Stack, make_user_client: Callable[[str], UserClient], tmp_path: Path
) -> None:
    account = make_user_client(f"reader-{page}").client.get("/api/v1/auth/me").json()["id"]
    with gateway_client(stack) as admin:
        login = admin.post("/api/v1/auth/login", data={"username": "admin", "password": ADMIN_PASSWORD}).json()
        admin.headers["Authorization"] = f"Bearer {login['access_token']}"
        endpoint = {"url": f"https://hooks.example.com/{page}", "events": ["turn.completed"]}
        webhook = admin.post("/api/v1/admin/webhooks", json=endpoint).json()["id"]
    variables = {"ADMIN": login["access_token"], "ACCOUNT": account, "WEBHOOK": webhook}
    text = requests_of(page)
    assert "curl" in text
    _, statuses = run(text, tmp_path, stack, **variables)
    assert statuses
    assert set(statuses) <= {200, 201, 202}
