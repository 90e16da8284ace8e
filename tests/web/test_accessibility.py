"""Automatic checks of accessibility by axe, of every page, light and dark."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from local.npm import FRONTEND
from tests.support.provider import Provider
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.screens import ChatScreen, button, choose
from tests.web.texts import text

pytestmark = pytest.mark.e2e

AXE = (FRONTEND / "node_modules" / "axe-core" / "axe.min.js").read_text()
RUN = "async () => (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html)}`)"
LOADED = """() => !document.querySelector('[role=status][aria-label=Loading], .animate-pulse')
    && document.getAnimations().every(({ playState }) => playState !== 'running')"""
ANSWER = """# A heading

Some *text* with `code`, a [link](https://example.com/) and $x^2$.

```python
print('hello')
```

| a | b |
|---|---|
| 1 | 2 |

- [x] done
- [ ] open
"""
GUEST_PAGES = ["/login", "/register", "/verify-email", "/forgot-password", "/reset-password", "/shared", "/nowhere"]
ACCOUNT_PAGES = ["", "/preferences", "/security", "/api-keys", "/usage", "/data"]
ADMIN_PAGES = ["", "/users", "/sessions", "/shares", "/audit", "/webhooks", "/system"]
REPORTS = ["/usage", "/latency", "/errors", "/models", "/users", "/retention", "/feedback"]


def violations(page: Page) -> list[str]:
    """Check what the page shows, in both colour schemes."""
    found = []
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(LOADED)
        found += [f"{page.url} ({scheme}) {violation}" for violation in page.evaluate(RUN)]
    page.emulate_media(color_scheme="light")
    return found


@pytest.fixture
def check() -> Iterator[Callable[[Page], None]]:
    """Function that checks what a page shows. The violations of all checks are reported together."""
    found: list[str] = []
    yield lambda page: found.extend(violations(page))
    assert not found, "\n".join(found)


def open_all(page: Page, paths: list[str], check: Callable[[Page], None]) -> None:
    for path in paths:
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        check(page)


def test_pages_without_a_login(visit: Visit, check: Callable[[Page], None]) -> None:
    open_all(visit("/"), GUEST_PAGES, check)


def test_pages_of_an_account(visit: Visit, member: Member, check: Callable[[Page], None]) -> None:
    open_all(visit("/", member), [f"/account{path}" for path in ACCOUNT_PAGES], check)


def test_pages_of_administration(
    visit: Visit, admin: Member, member: Member, provider: Provider, check: Callable[[Page], None]
) -> None:
    session = converse(member, provider, ("A question?", ANSWER))
    user = member.client.get("/api/v1/auth/me").json()["id"]
    details = [f"/users/{user}", f"/sessions/{session}"]
    open_all(visit("/", admin), [f"/admin{path}" for path in ADMIN_PAGES + details], check)


def test_reports_of_administration(visit: Visit, admin: Member, check: Callable[[Page], None]) -> None:
    open_all(visit("/", admin), [f"/admin/analytics{path}" for path in REPORTS], check)


def test_the_chat_and_its_dialogs(
    visit: Visit, member: Member, provider: Provider, check: Callable[[Page], None]
) -> None:
    page = visit("/", member)
    chat = ChatScreen(page)
    expect(chat.field).to_be_visible()
    check(page)
    page.goto(f"/c/{converse(member, provider, ('A question?', ANSWER), title='A chat')}")
    chat.expect_answer("A heading")
    check(page)
    button(page, "chat.details.open").click()
    expect(page.get_by_text(text("chat.details.duration"))).to_be_visible()
    check(page)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("option").first).to_be_visible()
    check(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name=text("composer.settings.title")).first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check(page)
    page.keyboard.press("Escape")
    chat.session_menu.click()
    choose(page, "sidebar.menu.share")
    button(page, "sidebar.share.create").click()
    expect(button(page, "sidebar.share.revoke")).to_be_visible()
    check(page)
    page.goto(page.get_by_role("textbox", name=text("sidebar.share.link")).input_value())
    expect(page.get_by_role("heading", name="A chat")).to_be_visible()
    check(page)
