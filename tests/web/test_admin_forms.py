"""What administrators do to accounts, chats, shared links and webhooks."""

import re
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import PASSWORD
from tests.support.provider import Provider, answers
from tests.support.receiver import Receiver, running_receiver
from tests.support.waiting import closed_gate
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.screens import ChatScreen, LoginScreen, button, confirm, dialog, table_rows
from tests.web.texts import text

pytestmark = pytest.mark.e2e


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def act(page: Page, name: str) -> None:
    """Press a button of an account's page, and confirm."""
    button(page, name).click()
    confirm(page, name)


def test_an_account_is_given_a_quota_and_a_role_disabled_enabled_and_erased(
    visit: Visit, admin: Member, member: Member
) -> None:
    user = member.client.get("/api/v1/auth/me").json()["id"]
    page = visit(f"/admin/users/{user}", admin)
    facts = page.get_by_role("main")

    button(page, "admin.quota.change").click()
    form = dialog(page, "admin.quota.change")
    form.get_by_label(text("admin.quota.names.tokens_per_day")).select_option(text("admin.quota.choices.limit"))
    form.get_by_label(text("admin.quota.tokens"), exact=True).fill("5000")
    form.get_by_label(text("admin.quota.names.cost_per_month")).select_option(text("admin.quota.choices.limit"))
    form.get_by_label(text("admin.quota.dollars")).fill("2.5")
    button(form, "common.actions.save").click()
    expect(form).to_have_count(0)
    expect(facts).to_contain_text(text("admin.quota.used", used="0", limit="5,000"))
    quota = admin.client.get(f"/api/v1/admin/users/{user}/quota").json()
    assert quota["tokens_per_day"]["limit"] == 5000
    assert float(quota["cost_per_month"]["limit"]) == 2.5

    act(page, "admin.users.promote")
    assert member.client.get("/api/v1/auth/me").json()["role"] == "admin"
    act(page, "admin.users.demote")
    expect(button(page, "admin.users.promote")).to_be_visible()

    act(page, "admin.users.disable")
    expect(facts).to_contain_text(text("admin.users.states.disabled"))
    guest = visit("/login")
    LoginScreen(guest).log_in(member.username, PASSWORD)
    expect(guest.get_by_text(text("auth.errors.invalid_credentials"))).to_be_visible()
    act(page, "admin.users.enable")
    LoginScreen(guest).log_in(member.username, PASSWORD)
    expect(ChatScreen(guest).field).to_be_visible()

    button(page, "admin.users.erase").click()
    question = dialog(page, "admin.users.erase")
    expect(button(question, "admin.users.erase")).to_be_disabled()
    question.get_by_role("textbox").fill(member.username)
    confirm(page, "admin.users.erase")
    expect(page).to_have_url(re.compile("/admin/users$"))
    assert admin.client.get(f"/api/v1/auth/admin/users/{user}").status_code == HTTPStatus.NOT_FOUND
    guest.reload()
    expect(LoginScreen(guest).heading).to_be_visible()


def test_an_answer_is_cancelled_and_a_shared_link_revoked(
    visit: Visit, admin: Member, member: Member, provider: Provider
) -> None:
    session = converse(member, provider, ("A question?", "An answer."), title="Shared by a member")
    path = f"/api/v1/chat/sessions/{session}"
    share = member.client.post(f"{path}/share", json={}).json()
    page = visit(f"/c/{session}", member)
    chat = ChatScreen(page)
    chat.expect_answer("An answer.")
    with closed_gate() as gate:
        provider.script(answers("A slow answer, word by word, to its end.", every=0.05, end=gate))
        chat.ask("Another question?")
        expect(chat.answers.last).to_contain_text("word by word")
        administration = visit(f"/admin/sessions/{session}", admin)
        button(administration, "admin.sessions.cancelAnswer").click()
        confirm(administration, "admin.sessions.cancelAnswer")
        expect(button(administration, "admin.sessions.cancelAnswer")).to_have_count(0)
        expect(chat.answers.last).to_contain_text(text("chat.notice.cancelled"))

    user = member.client.get("/api/v1/auth/me").json()["id"]
    administration.goto(f"/admin/shares?user={user}")
    button(table_rows(administration, "admin.nav.shares"), "admin.shares.revoke").click()
    confirm(administration, "admin.shares.revoke")
    expect(administration.get_by_text(text("admin.shares.empty"))).to_be_visible()
    page.goto(share["url"])
    expect(page.get_by_role("heading", name=text("sidebar.shared.deadTitle"))).to_be_visible()


def test_a_webhook_is_created_tested_rotated_and_deleted(visit: Visit, admin: Member, receiver: Receiver) -> None:
    page = visit("/admin/webhooks", admin)
    button(page, "admin.webhooks.create").click()
    form = dialog(page, "admin.webhooks.create")
    form.get_by_label(text("admin.webhooks.url")).fill(receiver.url)
    form.get_by_label(text("admin.webhooks.description")).fill("A receiver")
    form.get_by_label(text("admin.webhooks.allEvents")).uncheck()
    expect(button(form, "common.actions.create")).to_be_disabled()
    form.get_by_label("user.erased").check()
    button(form, "common.actions.create").click()
    shown = dialog(page, "admin.webhooks.secret")
    first_secret = shown.get_by_role("textbox").input_value()
    assert first_secret.startswith("whsec_")
    confirm(page, "admin.webhooks.secret", "admin.webhooks.secretStored")

    page.get_by_role("link", name=receiver.url).click()
    button(page, "admin.webhooks.test").click()
    expect(table_rows(page, "admin.deliveries.title")).to_contain_text([text("admin.deliveries.delivered")])
    assert len(receiver.requests) == 1

    button(page, "admin.webhooks.rotate").click()
    button(dialog(page, "admin.webhooks.rotate"), "admin.webhooks.rotate").click()
    assert shown.get_by_role("textbox").input_value() not in {"", first_secret}
    confirm(page, "admin.webhooks.secret", "admin.webhooks.secretStored")
    expect(page.get_by_text(text("admin.webhooks.previousUntil"))).to_be_visible()

    button(page, "admin.webhooks.pause").click()
    expect(button(page, "admin.webhooks.test")).to_have_count(0)
    button(page, "admin.webhooks.resume").click()
    expect(button(page, "admin.webhooks.test")).to_be_visible()
    act(page, "admin.webhooks.delete")
    expect(page).to_have_url(re.compile("/admin/webhooks$"))
    expect(page.get_by_text(receiver.url)).to_have_count(0)
