"""The pages as a reader sees them: what they show and offer, by role and name."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.web.texts import text


def button(scope: Page | Locator, key: str, **values: object) -> Locator:
    return scope.get_by_role("button", name=text(key, **values), exact=True)


def table_rows(page: Page, key: str) -> Locator:
    """Return the rows of a table without its head."""
    return page.get_by_role("region", name=text(key)).get_by_role("row").filter(has=page.get_by_role("cell"))


def dialog(page: Page, key: str, **values: object) -> Locator:
    return page.get_by_role("dialog", name=text(key, **values), exact=True)


def confirm(page: Page, title: str, action: str | None = None) -> None:
    """Confirm the question with this title, and wait until its dialog is closed: then the action has succeeded."""
    question = dialog(page, title)
    button(question, action or title).click()
    expect(question).to_have_count(0)


def choose(page: Page, *keys: str) -> None:
    """Choose an item of the open menu; with several keys, by way of its submenus."""
    for key in keys:
        page.get_by_role("menuitem", name=text(key), exact=True).or_(
            page.get_by_role("menuitemcheckbox", name=text(key), exact=True)
        ).click()


class LoginScreen:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.heading = page.get_by_role("heading", name=text("auth.login.title"))
        self.username = page.get_by_label(text("auth.login.username"))
        self.password = page.get_by_label(text("auth.password.label"), exact=True)
        self.submit = button(page, "auth.login.submit")
        self.register = page.get_by_role("link", name=text("auth.login.register"))

    def log_in(self, username: str, password: str) -> None:
        self.username.fill(username)
        self.password.fill(password)
        self.submit.click()


class ChatScreen:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.main = page.get_by_role("main")
        self.field = self.main.get_by_label(text("composer.label"), exact=True)
        self.send = button(page, "composer.send")
        self.stop = button(page, "composer.stop")
        self.questions = page.get_by_role("article", name=text("chat.question.label"))
        self.answers = page.get_by_role("article", name=text("chat.answer.label"), exact=True)
        self.answer_text = self.answers.last.get_by_role("paragraph").first
        self.banner = page.get_by_text(text("chat.reconnecting"))
        self.sidebar = page.get_by_role("complementary", name=text("sidebar.label"))
        self.sessions = page.get_by_role("navigation", name=text("sidebar.headings.chats"))
        self.account_menu = page.get_by_role("button", name=re.compile(re.escape(text("common.menu.open"))))
        menu = text("sidebar.menu.open").partition("{title}")[0]
        self.session_menu = self.main.get_by_role("button", name=re.compile(f"^{re.escape(menu)}"))

    def ask(self, question: str) -> None:
        self.field.fill(question)
        self.field.press("Enter")

    def expect_answer(self, content: str | re.Pattern[str]) -> None:
        """Expect the last answer to be complete, with a text."""
        expect(self.answers.last).to_contain_text(content)
        expect(self.answers.last).to_have_attribute("aria-busy", "false")

    def log_out(self) -> None:
        self.account_menu.click()
        choose(self.page, "common.menu.logOut")

    @property
    def session_id(self) -> str:
        self.page.wait_for_url(re.compile("/c/"))
        return self.page.url.rsplit("/", 1)[-1].partition("?")[0]
