"""Export and import of all conversations, by the menu of the list."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.provider import Provider
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.screens import ChatScreen, button, choose, dialog
from tests.web.texts import text

pytestmark = pytest.mark.e2e


def test_all_conversations_are_exported_and_imported_by_another_account(
    visit: Visit, make_member: Callable[..., Member], provider: Provider, tmp_path: Path
) -> None:
    member = make_member()
    converse(member, provider, ("How deep is it?", "Eleven kilometres."), title="The trench")
    converse(member, provider, ("How high is it?", "Nine kilometres."), title="The mountain")
    page = visit("/", member)
    button(page, "sidebar.list.open").click()
    choose(page, "sidebar.list.export")
    with page.expect_download() as download:
        button(dialog(page, "sidebar.export.title"), "sidebar.export.start").click()
    expect(dialog(page, "sidebar.export.title")).to_have_count(0)
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert {session["title"] for session in json.loads(file.read_text())["sessions"]} == {"The trench", "The mountain"}

    other = visit("/", make_member())
    expect(ChatScreen(other).field).to_be_visible()
    button(other, "sidebar.list.open").click()
    choose(other, "sidebar.list.import")
    form = dialog(other, "sidebar.import.title")
    upload = form.locator("input[type=file]")
    wrong = tmp_path / "wrong.json"
    wrong.write_text("PK\x03\x04")
    upload.set_input_files(wrong)
    expect(form.get_by_role("alert")).to_have_text(text("sidebar.import.faults.archive"))
    upload.set_input_files(file)
    expect(form.get_by_text(text("sidebar.import.status.complete"))).to_be_visible()
    expect(form.get_by_role("status")).to_contain_text(f"{text('sidebar.import.figures.messages')}4")
    button(form.locator("[data-slot=footer]"), "common.actions.close").click()
    chat = ChatScreen(other)
    chat.sessions.get_by_role("link", name="The trench").click()
    chat.expect_answer("Eleven kilometres.")
