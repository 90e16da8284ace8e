"""Passwords: changed by their owner, and set by the links in emails."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from local.stack import Stack
from tests.e2e.conftest import PASSWORD
from tests.web.conftest import Member, Visit
from tests.web.mails import link_from_mail
from tests.web.screens import ChatScreen, LoginScreen, button, dialog, table_rows
from tests.web.texts import text

pytestmark = pytest.mark.e2e

NEW_PASSWORD = "a horse of another colour"


def fill_password(page: Page, key: str, value: str) -> None:
    page.get_by_label(text(key), exact=True).fill(value)


def expect_login(page: Page, username: str, password: str) -> None:
    LoginScreen(page).log_in(username, password)
    expect(ChatScreen(page).field).to_be_visible()


def test_a_changed_password_logs_other_devices_out_and_works(
    visit: Visit, member: Member, make_member: Callable[..., Member]
) -> None:
    other = visit("/", make_member(member.username))
    expect(ChatScreen(other).field).to_be_visible()
    page = visit("/account/security", member)
    devices = page.get_by_role("list").filter(has_text=text("account.devices.current")).get_by_role("listitem")
    expect(devices).not_to_have_count(1)
    fill_password(page, "account.security.current", "not the password")
    fill_password(page, "auth.password.new", NEW_PASSWORD)
    button(page, "account.security.change").click()
    expect(page.get_by_text(text("auth.fields.wrong_password"))).to_be_visible()

    fill_password(page, "account.security.current", PASSWORD)
    button(page, "account.security.change").click()
    expect(page.get_by_text(text("account.security.changed"), exact=True)).to_be_visible()
    expect(page.get_by_label(text("auth.password.new"), exact=True)).to_have_value("")
    expect(devices).to_have_count(1)
    page.reload()
    expect(devices).to_have_count(1)

    other.reload()
    expect_login(other, member.username, NEW_PASSWORD)


def test_a_forgotten_password_is_set_by_the_link_in_the_email(visit: Visit, member: Member, stack: Stack) -> None:
    address = f"{member.username}@example.com"
    page = visit("/login")
    page.get_by_role("link", name=text("auth.login.forgot")).click()
    page.get_by_label(text("auth.email")).fill(address)
    button(page, "auth.mail.send").click()
    expect(page.get_by_text(text("auth.forgot.sent", email=address))).to_be_visible()

    page.goto(link_from_mail(stack, address, "Reset your password"))
    fill_password(page, "auth.password.new", NEW_PASSWORD)
    button(page, "auth.reset.submit").click()
    expect(page.get_by_role("heading", name=text("auth.reset.done"))).to_be_visible()
    page.get_by_role("link", name=text("auth.login.submit")).click()
    expect_login(page, member.username, NEW_PASSWORD)


def test_an_invited_person_creates_an_account(visit: Visit, admin: Member, stack: Stack) -> None:
    address = "guest@example.com"
    page = visit("/admin/users", admin)
    button(page, "admin.users.invite").click()
    form = dialog(page, "admin.users.invite")
    form.get_by_label(text("admin.users.email")).fill(address)
    form.get_by_label(text("admin.users.fullName")).fill("A Guest")
    button(form, "admin.users.sendInvitation").click()
    expect(page.get_by_text(text("admin.users.invited", email=address), exact=True)).to_be_visible()
    invitations = table_rows(page, "admin.users.invitations")
    expect(invitations).to_contain_text([address])

    guest = visit(link_from_mail(stack, address, "You are invited"))
    expect(guest.get_by_label(text("auth.email"))).to_have_value(address)
    guest.get_by_label(text("auth.username"), exact=True).fill("guest")
    LoginScreen(guest).password.fill(PASSWORD)
    button(guest, "auth.register.submit").click()
    expect(ChatScreen(guest).field).to_be_visible()

    page.reload()
    expect(page.get_by_role("link", name="guest", exact=True)).to_be_visible()
    expect(invitations).to_have_count(0)
