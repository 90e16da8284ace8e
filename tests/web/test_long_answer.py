"""A long answer at 100 tokens per second in a session of 1 000 messages: the page stays smooth and its memory flat.

ANSWER_SECONDS=180 lets it last three minutes; by default the answer comes faster. `pytest -s` shows the figures.
"""

import json
import os
import time

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.chat.transfer.files import message, native, session
from tests.support.provider import Provider, answers
from tests.support.waiting import LONGEST_WAIT, wait_until
from tests.web.conftest import Member, Visit
from tests.web.screens import ChatScreen

pytestmark = pytest.mark.e2e

SECONDS = int(os.environ.get("ANSWER_SECONDS", "10"))
RATE = max(100, 6000 // SECONDS)
"""Tokens per second. Memory that grows with the square of the length shows after some thousand tokens."""
MESSAGES = 1000
PARAGRAPH = "Some **bold** words, a `code` span, and then the rest of a sentence of an ordinary paragraph.\n\n"
LISTING = "```python\nfor number in range(10):\n    print(number, number ** 2)\n```\n\n- first item\n- second item\n\n"
OBSERVE = """() => {
    window.longTasks = []
    new PerformanceObserver((list) => {
        for (const { duration } of list.getEntries()) window.longTasks.push(Math.round(duration))
    }).observe({ type: 'longtask' })
}"""
MEGABYTE = 1_000_000


def heap(cdp: CDPSession) -> float:
    """Return the size of what the page still uses, in megabytes."""
    cdp.send("HeapProfiler.collectGarbage")
    metrics = {each["name"]: each["value"] for each in cdp.send("Performance.getMetrics")["metrics"]}
    return float(metrics["JSHeapUsedSize"]) / MEGABYTE


def load_all(page: Page, chat: ChatScreen) -> None:
    """Scroll up until the first message of the session is shown, and down again."""
    deadline = time.monotonic() + LONGEST_WAIT
    first = page.get_by_text("text 1", exact=True)
    chat.answers.last.hover()
    while first.count() == 0 and time.monotonic() < deadline:
        page.mouse.wheel(0, -20_000)
        page.wait_for_timeout(50)  # for the frame in which more is asked for
    expect(first).to_be_visible()


def test_a_long_answer_in_a_long_session_keeps_the_page_smooth(
    visit: Visit, member: Member, provider: Provider
) -> None:
    messages = [message(number, number - 1 or None) for number in range(1, MESSAGES + 1)]
    body = json.dumps(native(session(*messages, title="A long session")))
    member.client.post("/api/v1/chat/import", content=body, headers={"Content-Type": "application/json"})
    wait_until(lambda: member.client.get("/api/v1/chat/sessions").json()["sessions"])
    session_id = member.client.get("/api/v1/chat/sessions").json()["sessions"][0]["session_id"]

    page = visit(f"/c/{session_id}", member)
    chat = ChatScreen(page)
    expect(chat.answers.last).to_contain_text(f"text {MESSAGES}")
    load_all(page, chat)
    words = ((PARAGRAPH + LISTING) * (SECONDS * RATE)).split(" ")[: SECONDS * RATE]
    provider.script(answers(" ".join(words), every=1 / RATE))
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable")
    page.evaluate(OBSERVE)
    chat.ask("Tell me everything.")
    expect(chat.stop).to_be_visible()
    heaps, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        page.wait_for_timeout(max(1000, SECONDS * 50))
        heaps.append(heap(cdp))
    expect(chat.send).to_be_visible(timeout=2 * SECONDS * 1000 + 30_000)
    long_tasks = page.evaluate("() => window.longTasks")
    print(f"\nlong tasks in ms: {sorted(long_tasks)[-10:]} ({len(long_tasks)}); heap in MB: {heaps}")  # noqa: T201
    assert heaps[-1] - heaps[0] < 5
