"""Several tabs of one browser."""

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.provider import Provider, answers
from tests.support.waiting import closed_gate
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.screens import ChatScreen, LoginScreen
from tests.web.watch import Watch

pytestmark = pytest.mark.e2e


def other_tab(page: Page) -> Page:
    other = page.context.new_page()
    other.goto(page.url)
    return other


def test_an_answer_under_way_is_shown_in_the_other_tab_too(visit: Visit, member: Member, provider: Provider) -> None:
    session = converse(member, provider, ("First question?", "First answer."))
    page = visit(f"/c/{session}", member)
    chat = ChatScreen(page)
    chat.expect_answer("First answer.")
    other = ChatScreen(other_tab(page))
    other.expect_answer("First answer.")
    with closed_gate() as gate:
        provider.script(answers("A slow answer, word by word, to its end.", every=0.05, end=gate))
        chat.ask("Second question?")
        for tab in (chat, other):
            expect(tab.answers.last).to_contain_text("word by word")
            expect(tab.answers.last).to_have_attribute("aria-busy", "true")
        gate.set()
        for tab in (chat, other):
            tab.expect_answer("to its end.")


def test_a_logout_in_one_tab_ends_the_others(visit: Visit, member: Member) -> None:
    page = visit("/", member)
    chat = ChatScreen(page)
    expect(chat.field).to_be_visible()
    other = other_tab(page)
    expect(ChatScreen(other).field).to_be_visible()
    chat.log_out()
    for tab in (page, other):
        expect(LoginScreen(tab).heading).to_be_visible()
    other.goto("/account")
    expect(other).to_have_url(re.compile("/login"))


def test_tabs_share_one_refresh_of_an_expired_token(
    visit: Visit, member: Member, provider: Provider, watches: dict[BrowserContext, Watch]
) -> None:
    session = converse(member, provider, ("A question?", "An answer."))
    page = visit("/", member)
    page.context.clock.install()
    page.goto(f"/c/{session}")
    tabs = [page, other_tab(page), other_tab(page)]
    for tab in tabs:
        ChatScreen(tab).expect_answer("An answer.")
    requests = watches[page.context].requests
    refreshes = sum(url.endswith("/refresh") for url in requests)
    page.context.clock.fast_forward("02:00:00")
    for tab in tabs:
        with tab.expect_response(re.compile("/messages")):
            tab.evaluate("() => void dispatchEvent(new Event('focus'))")
    assert sum(url.endswith("/refresh") for url in requests) == refreshes + 1
