"""The pages of administration, and that others do not get them."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.support.provider import Provider
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.screens import button
from tests.web.texts import text
from tests.web.watch import Watch

pytestmark = pytest.mark.e2e


def test_an_admin_reads_a_session_with_a_reason_that_is_recorded(
    visit: Visit, admin: Member, member: Member, provider: Provider
) -> None:
    session = converse(member, provider, ("Is this private?", "Yes, unless there is a reason."))
    page = visit(f"/admin/sessions/{session}", admin)
    button(page, "admin.reading.read").click()
    confirm = button(page, "admin.reading.confirm")
    expect(confirm).to_be_disabled()
    page.get_by_label(text("admin.reading.reason")).fill("Ticket 4711")
    confirm.click()
    expect(page.get_by_text("Yes, unless there is a reason.")).to_be_visible()
    page.goto("/admin/audit")
    expect(page.get_by_role("main")).to_contain_text("Ticket 4711")


def test_a_report_is_filtered_by_its_address_and_downloaded(visit: Visit, admin: Member) -> None:
    page = visit("/admin/analytics/usage", admin)
    period = page.get_by_role("combobox", name=text("admin.filters.range"))
    period.select_option(text("admin.ranges.7d"))
    expect(page).to_have_url(re.compile(r"[?&]range=7d"))
    page.reload()
    expect(period).to_have_value("7d")
    with page.expect_download() as download:
        button(page, "admin.actions.csv").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert "turns" in rows[0]
    assert len(rows) > 1


def test_users_neither_see_nor_load_the_pages_of_admins(
    visit: Visit, member: Member, watches: dict[BrowserContext, Watch]
) -> None:
    page = visit("/admin/users", member)
    expect(page.get_by_role("heading", name=text("common.notFound.title"))).to_be_visible()
    (watch,) = watches.values()
    assert [url for url in watch.requests if re.search("admin", url, re.IGNORECASE)] == [page.url]
