"""Icons and styles of the interface's components are part of the build."""

import pytest
from playwright.sync_api import expect

from tests.web.conftest import Member, Visit
from tests.web.screens import button
from tests.web.texts import text

pytestmark = pytest.mark.e2e


def test_buttons_without_text_show_an_icon_and_the_sidebar_has_its_place(visit: Visit, member: Member) -> None:
    page = visit("/", member)
    expect(button(page, "composer.send").locator("svg path").first).to_be_visible()
    question = page.get_by_role("textbox", name=text("composer.label"))
    expect(question).to_be_visible()
    empty = page.locator("button:visible").evaluate_all(
        "buttons => buttons.filter((one) => !one.innerText.trim() && !one.querySelector('svg *'))"
        ".map((one) => one.outerHTML)"
    )
    assert empty == []
    # Without its styles, the sidebar is hidden or above the chat.
    box = question.bounding_box()
    assert box is not None
    assert box["x"] > 200
