"""Versions of questions and answers."""

import pytest
from playwright.sync_api import Locator, expect

from tests.support.provider import Provider, answers
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.screens import ChatScreen, button
from tests.web.texts import text

pytestmark = pytest.mark.e2e


def expect_version(message: Locator, index: int, count: int) -> None:
    expect(message).to_contain_text(text("chat.versions.positionLabel", index=index, count=count))


def test_versions_are_made_by_edit_and_regenerate_and_chosen_by_arrows(
    visit: Visit, member: Member, provider: Provider
) -> None:
    session = converse(member, provider, ("Name a colour.", "Red."))
    page = visit(f"/c/{session}", member)
    chat = ChatScreen(page)
    chat.expect_answer("Red.")
    provider.script(answers("Blue."), answers("Seven."))

    button(page, "chat.answer.regenerate").click()
    chat.expect_answer("Blue.")
    expect_version(chat.answers, 2, 2)

    chat.questions.hover()
    button(page, "chat.question.edit").click()
    page.get_by_label(text("chat.question.editLabel")).fill("Name a number.")
    button(chat.questions, "chat.question.send").click()
    chat.expect_answer("Seven.")
    expect_version(chat.questions, 2, 2)

    button(chat.questions, "chat.versions.previous").click()
    expect(chat.questions).to_contain_text("Name a colour.")
    expect(chat.answers).to_contain_text("Blue.")
    button(chat.answers, "chat.versions.previous").click()
    expect(chat.answers).to_contain_text("Red.")

    page.reload()
    expect(chat.questions).to_contain_text("Name a colour.")
    expect(chat.answers).to_contain_text("Red.")
    expect_version(chat.answers, 1, 2)
