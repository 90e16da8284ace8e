"""First load of a page: what a browser with an empty cache receives, headers included, until nothing more comes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.provider import Provider
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.screens import ChatScreen
from tests.web.texts import text

pytestmark = pytest.mark.e2e

LIMIT = 250_000
"""Bytes of a first page."""
RENDERER = 40_000
"""Bytes more where an answer has Markdown."""
QUIET = 3000
"""Milliseconds after which a page has loaded all that it loads without being used."""


@contextmanager
def weighed(page: Page) -> Iterator[dict[str, float]]:
    """Collect the bytes that the page receives, by request."""
    sizes: dict[str, float] = {}

    def add(event: dict[str, Any]) -> None:
        sizes[event["requestId"]] = event["encodedDataLength"]

    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", add)
    yield sizes
    page.wait_for_timeout(QUIET)


@pytest.mark.parametrize("path", ["/login", "/", "/account", "/admin"])
def test_first_page_is_light(visit: Visit, admin: Member, path: str) -> None:
    page = visit("about:blank", None if path == "/login" else admin)
    with weighed(page) as sizes:
        page.goto(path)
        page.locator("main h1, main textarea").first.wait_for()
    print(f"{path}: {sum(sizes.values()) / 1000:.0f} kB in {len(sizes)} responses")  # noqa: T201
    assert 100_000 < sum(sizes.values()) < LIMIT


@pytest.mark.parametrize(
    ("answer", "limit"), [("Your name is Ada.", LIMIT), ("Your name is **Ada**.", LIMIT + RENDERER)]
)
def test_conversation_loads_the_renderer_if_it_has_markdown(
    visit: Visit, member: Member, provider: Provider, answer: str, limit: int
) -> None:
    session_id = converse(member, provider, ("What is my name?", answer))
    page = visit("about:blank", member)
    with weighed(page) as sizes:
        page.goto(f"/c/{session_id}")
        ChatScreen(page).answers.last.get_by_text("Ada").wait_for()
    print(f"{answer}: {sum(sizes.values()) / 1000:.0f} kB in {len(sizes)} responses")  # noqa: T201
    assert sum(sizes.values()) < limit
    names = page.evaluate("performance.getEntries().filter(e => e.encodedBodySize > 20000).map(e => e.name)")
    loads_renderer = any("markdown" in name for name in names)
    assert loads_renderer == ("**" in answer)


def test_login_page_names_no_page_of_administration(visit: Visit) -> None:
    page = visit("/login")
    page.get_by_role("button", name=text("auth.login.submit")).wait_for()
    names = page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
    assert not [name for name in names if "admin" in name.lower()]
