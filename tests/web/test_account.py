"""What belongs to an account: its data and its preferences, on every device."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.provider import Provider, answers
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.screens import ChatScreen, button, choose
from tests.web.texts import text

pytestmark = pytest.mark.e2e


def test_a_conversation_is_exported_as_a_file(visit: Visit, member: Member, provider: Provider) -> None:
    session = converse(member, provider, ("How deep is it?", "Eleven kilometres."), title="The trench")
    page = visit(f"/c/{session}", member)
    ChatScreen(page).session_menu.click()
    with page.expect_download() as download:
        choose(page, "sidebar.menu.export", "sidebar.formats.md")
    assert download.value.suggested_filename.endswith(".md")
    content = Path(download.value.path()).read_text()
    assert "The trench" in content
    assert "Eleven kilometres." in content


def test_theme_and_language_follow_to_another_device(
    visit: Visit, member: Member, make_member: Callable[..., Member]
) -> None:
    page = visit("/account/preferences", member)
    with page.expect_response(re.compile("/preferences")):
        page.get_by_role("radio", name=text("account.preferences.themes.dark")).click()
    with page.expect_response(re.compile("/preferences")):
        page.get_by_role("combobox", name=text("common.menu.language")).select_option("Deutsch")
    expect(page.get_by_role("heading", name="Einstellungen")).to_be_visible()

    other = visit("/", make_member(member.username))
    html = other.locator("html")
    expect(html).to_have_attribute("lang", "de")
    expect(html).to_contain_class("dark")


def test_on_a_phone_the_sidebar_opens_and_the_chat_is_usable(visit: Visit, member: Member, provider: Provider) -> None:
    session = converse(member, provider, ("Old question?", "Old answer."), title="An old chat")
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    page = visit("/", member, **phone)
    chat = ChatScreen(page)
    expect(chat.field).to_be_in_viewport()
    page.get_by_role("button", name="Open sidebar").tap()
    page.get_by_role("link", name="An old chat").tap()
    expect(page).to_have_url(re.compile(session))
    chat.expect_answer("Old answer.")
    provider.script(answers("New answer."))
    chat.field.fill("New question?")
    button(page, "composer.send").tap()
    chat.expect_answer("New answer.")
    expect(chat.answers.last).to_be_in_viewport()
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_arabic_is_written_from_right_to_left(visit: Visit, member: Member) -> None:
    page = visit("/", member, locale="ar")
    html = page.locator("html")
    expect(html).to_have_attribute("dir", "rtl")
    expect(html).to_have_attribute("lang", "ar")
    sidebar, main = page.get_by_role("complementary").bounding_box(), page.get_by_role("main").bounding_box()
    assert sidebar is not None
    assert main is not None
    assert sidebar["x"] > main["x"]
