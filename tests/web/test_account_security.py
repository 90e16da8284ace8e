"""What an account does for its safety: address, devices, usage."""

from collections.abc import Callable

from playwright.sync_api import expect

from local.stack import Stack
from tests.support.provider import Provider
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.mails import link_from_mail
from tests.web.screens import LoginScreen, button
from tests.web.texts import text


def test_address_is_confirmed_by_the_link_in_the_email(visit: Visit, member: Member, stack: Stack) -> None:
    link = link_from_mail(stack, f"{member.username}@example.com", "Verify your email address")
    page = visit(link)
    button(page, "auth.verify.submit").click()
    expect(page.get_by_role("heading", name=text("auth.verify.done"))).to_be_visible()
    assert member.client.get("/api/v1/auth/me").json()["is_verified"] is True
    again = visit(link)
    button(again, "auth.verify.submit").click()
    expect(again.get_by_role("alert")).to_be_visible()


def test_logging_out_everywhere_ends_all_devices(
    visit: Visit, member: Member, make_member: Callable[..., Member]
) -> None:
    other = visit("/", make_member(member.username))
    page = visit("/account/security", member)
    button(page, "account.devices.everywhere").click()
    page.get_by_role("dialog").get_by_role("button", name=text("account.devices.everywhere")).click()
    expect(LoginScreen(page).heading).to_be_visible()
    other.reload()
    expect(LoginScreen(other).heading).to_be_visible()


def test_usage_is_shown_by_day(visit: Visit, member: Member, provider: Provider) -> None:
    converse(member, provider, ("How are you?", "Fine."))
    page = visit("/account/usage", member)
    page.get_by_text(text("account.usage.asTable")).click()
    rows = page.get_by_role("region", name=text("account.usage.byDay")).get_by_role("row")
    expect(rows).to_have_count(31)
    expect(rows.nth(1).get_by_role("cell").first).to_have_text("1")
    expect(rows.nth(2).get_by_role("cell").first).to_have_text("0")
