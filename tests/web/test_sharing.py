"""Links to conversations, for readers without an account."""

import pytest
from playwright.sync_api import expect

from tests.support.provider import Provider
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.screens import ChatScreen, button, choose
from tests.web.texts import text

pytestmark = pytest.mark.e2e


def test_a_shared_link_shows_the_conversation_and_nothing_of_its_owner_until_it_is_revoked(
    visit: Visit, member: Member, provider: Provider
) -> None:
    session = converse(member, provider, ("Where is it?", "Under the bridge."), title="A secret place")
    page = visit(f"/c/{session}", member)
    ChatScreen(page).session_menu.click()
    choose(page, "sidebar.menu.share")
    button(page, "sidebar.share.create").click()
    link = page.get_by_role("textbox", name=text("sidebar.share.link")).input_value()

    reader = visit(link)
    expect(reader.get_by_role("heading", name="A secret place")).to_be_visible()
    expect(reader.get_by_text("Where is it?")).to_be_visible()
    expect(reader.get_by_text("Under the bridge.")).to_be_visible()
    assert member.username not in reader.content()

    button(page, "sidebar.share.revoke").click()
    expect(button(page, "sidebar.share.create")).to_be_visible()
    reader.reload()
    expect(reader.get_by_role("heading", name=text("sidebar.shared.deadTitle"))).to_be_visible()
    expect(reader.get_by_text("Under the bridge.")).to_have_count(0)
