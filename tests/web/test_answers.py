"""Answers that are stopped, or lose the page, the network or the service in the middle."""

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from local.stack import Stack
from tests.e2e.stack_control import kill
from tests.fixtures.database import Sql
from tests.support.provider import Provider, answers
from tests.support.waiting import closed_gate
from tests.web.conftest import Member, Visit
from tests.web.screens import ChatScreen, button
from tests.web.texts import text

pytestmark = pytest.mark.e2e

WORDS = [f"word{number}" for number in range(1, 201)]
STORY = " ".join(WORDS)


@pytest.fixture
def gate(provider: Provider) -> Iterator[threading.Event]:
    """The next answer is the story, slowly; its rest follows when the gate opens."""
    with closed_gate() as gate:
        provider.script(answers(STORY, every=0.1, end=gate))
        yield gate


def stored_answer(member: Member, chat: ChatScreen) -> str:
    return str(member.client.get(f"/api/v1/chat/sessions/{chat.session_id}").json()["messages"][-1]["content"])


def test_a_stopped_answer_keeps_its_text(visit: Visit, member: Member, gate: threading.Event) -> None:
    chat = ChatScreen(visit("/", member))
    chat.ask("Tell me a story.")
    expect(chat.answers).to_contain_text(" word5")
    chat.stop.click()
    expect(chat.answers).to_contain_text(text("chat.notice.cancelled"))
    content = stored_answer(member, chat)
    assert content.startswith("word1 ")
    assert len(content) < len(STORY)
    expect(chat.answer_text).to_have_text(content)


def test_an_answer_goes_on_after_a_reload_and_is_complete(visit: Visit, member: Member, gate: threading.Event) -> None:
    page = visit("/", member)
    chat = ChatScreen(page)
    chat.ask("Tell me a story.")
    expect(chat.answers).to_contain_text(" word5")
    page.reload()
    expect(chat.answers).to_contain_text(" word5")
    expect(chat.answers).to_have_attribute("aria-busy", "true")
    gate.set()
    chat.expect_answer("word200")
    assert stored_answer(member, chat) == STORY
    expect(chat.answer_text).to_have_text(STORY)
    button(page, "chat.details.open").click()
    expect(page.get_by_text(text("chat.details.proof.hash"))).to_be_visible()


def test_nothing_is_missed_while_the_network_is_lost(visit: Visit, member: Member, gate: threading.Event) -> None:
    page = visit("/", member)
    chat = ChatScreen(page)
    chat.ask("Tell me a story.")
    expect(chat.answers).to_contain_text(" word5")
    expect(chat.banner).to_have_count(0)
    page.context.set_offline(offline=True)
    expect(chat.banner).to_be_visible()
    gate.set()
    page.context.set_offline(offline=False)
    chat.expect_answer("word200")
    expect(chat.banner).to_have_count(0)
    expect(chat.answer_text).to_have_text(STORY)


def test_an_answer_of_a_killed_service_is_shown_as_interrupted_and_can_be_asked_again(
    visit: Visit, member: Member, gate: threading.Event, stack: Stack, provider: Provider, sql: Sql
) -> None:
    page = visit("/", member)
    chat = ChatScreen(page)
    chat.ask("Tell me a story.")
    expect(chat.answers).to_contain_text(" word5")
    service = kill(stack, "chat-service")
    expect(chat.banner).to_be_visible()
    # Half a minute earlier than by itself.
    sql.do("UPDATE chat_messages SET lease_expires_at = now() WHERE lease_expires_at IS NOT NULL")
    service.start()
    expect(chat.answers).to_contain_text(text("chat.notice.interrupted"))
    expect(chat.banner).to_have_count(0)
    expect(chat.answers).to_contain_text(" word5")
    provider.script(answers("Once upon a time."))
    button(page, "chat.answer.askAgain").click()
    chat.expect_answer("Once upon a time.")
