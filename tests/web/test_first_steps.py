"""From the login page to the first answer of the real small model, and back."""

import re

import pytest
from playwright.sync_api import expect

from local.stack import Stack
from tests.e2e.conftest import PASSWORD
from tests.web.conftest import Visit
from tests.web.screens import ChatScreen, LoginScreen, button
from tests.web.texts import text

pytestmark = pytest.mark.e2e


def test_a_new_user_registers_asks_and_gets_an_answer(visit: Visit) -> None:
    page = visit("/")
    login = LoginScreen(page)
    login.register.click()
    page.get_by_label(text("auth.email")).fill("newcomer@example.com")
    page.get_by_label(text("auth.username"), exact=True).fill("newcomer")
    login.password.fill(PASSWORD)
    button(page, "auth.register.submit").click()

    chat = ChatScreen(page)
    expect(page.get_by_role("heading", name=text("composer.empty.greeting", name="newcomer"))).to_be_visible()
    chat.ask("What is the capital of France?")
    chat.expect_answer(re.compile(r"\w{3}"))
    expect(chat.sessions.get_by_role("link")).to_have_count(1)

    chat.log_out()
    expect(login.heading).to_be_visible()
    login.log_in("newcomer", PASSWORD)
    chat.sessions.get_by_role("link").click()
    expect(chat.questions).to_have_text(re.compile("capital of France"))


def test_a_wrong_password_is_said(visit: Visit) -> None:
    page = visit("/login")
    LoginScreen(page).log_in("nobody", "not the password")
    expect(page.get_by_text(text("auth.errors.invalid_credentials"))).to_be_visible()
    expect(page).to_have_url(re.compile("/login$"))


def test_the_login_page_of_a_local_system_says_how_to_log_in(visit: Visit, stack: Stack) -> None:
    page = visit("/")
    expect(page.get_by_text(f"Local stack: log in as {stack.first_admin.describe_login()}")).to_be_visible()
