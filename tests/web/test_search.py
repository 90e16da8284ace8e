"""Search of conversations, with the keyboard alone."""

import re

import pytest
from playwright.sync_api import expect

from tests.support.provider import Provider
from tests.support.waiting import wait_until
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.screens import ChatScreen
from tests.web.texts import text

pytestmark = pytest.mark.e2e


def test_a_message_is_found_and_opened_by_keys(visit: Visit, member: Member, provider: Provider) -> None:
    session = converse(member, provider, ("Which bird is it?", "A heron stands in the reeds."), title="At the lake")
    converse(member, provider, ("And this one?", "That is a sparrow."), title="In the garden")
    wait_until(lambda: member.client.get("/api/v1/chat/search", params={"q": "heron"}).json()["hits"])
    page = visit("/", member)
    expect(ChatScreen(page).field).to_be_focused()
    page.keyboard.press("Control+k")
    expect(page.get_by_role("textbox", name=text("common.shortcuts.search"))).to_be_focused()
    page.keyboard.type("heron")
    hit = page.get_by_role("option")
    expect(hit).to_contain_text("At the lake")
    expect(hit.locator("mark")).to_have_text("heron")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"/c/{session}\?message="))
    expect(ChatScreen(page).answers).to_contain_text("A heron stands in the reeds.")
