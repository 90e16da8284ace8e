"""Pictures for the README: `make screenshots` writes them from a system with a plausible history."""

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from local.paths import PROJECT
from tests.admin.analytics.workload import Call, store
from tests.fixtures.database import Sql
from tests.support.provider import Provider
from tests.web.conftest import Member, Visit
from tests.web.conversations import converse
from tests.web.screens import ChatScreen
from tests.web.texts import text

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="`make screenshots` writes the pictures"),
]

IMAGES = PROJECT / "docs" / "images"
SHARP = {"device_scale_factor": 2, "viewport": {"width": 1400, "height": 880}}
QUESTION = "How do I find the slowest queries in PostgreSQL?"
ANSWER = """\
Use the extension `pg_stat_statements`. It adds up time and calls for each kind of query:

```sql
SELECT query, calls, mean_exec_time, total_exec_time
FROM pg_stat_statements
ORDER BY total_exec_time DESC
LIMIT 10;
```

Then look at the worst one with `EXPLAIN (ANALYZE, BUFFERS)`:

| What you see | What it often means |
|---|---|
| `Seq Scan` on a large table | an index is missing |
| many `Rows Removed by Filter` | the index does not fit the condition |
| `Sort Method: external merge` | `work_mem` is too small |

**Start with the total time**, not with the mean: a fast query that runs a million times costs more than a slow one.
"""
OTHERS = [
    "Minutes of the architecture meeting",
    "Invitation to the summer party",
    "Regular expression for dates",
    "Explain eventual consistency",
    "Checklist for the release",
    "Translate the imprint into German",
    "Ideas for a workshop on testing",
]


def capture(page: Page, name: str) -> None:
    page.evaluate("() => document.activeElement?.blur()")
    page.wait_for_load_state("networkidle")
    IMAGES.mkdir(exist_ok=True)
    page.screenshot(path=IMAGES / name, animations="disabled")


def test_picture_of_the_chat(visit: Visit, member: Member, provider: Provider, sql: Sql) -> None:
    sessions = [converse(member, provider, (title, "Of course."), title=title) for title in reversed(OTHERS)]
    for days, session in enumerate(reversed(sessions)):
        earlier = [f"{days} days", session]
        sql.do("UPDATE chat_sessions SET updated_at = updated_at - %s::interval WHERE uuid = %s", earlier)
    sql.do("UPDATE users SET username = 'ada' WHERE username = %s", [member.username])
    session = converse(member, provider, (QUESTION, ANSWER), title="Slow queries in PostgreSQL")
    page = visit(f"/c/{session}", member, **SHARP)
    chat = ChatScreen(page)
    chat.expect_answer("Start with the total time")
    expect(chat.sessions.get_by_role("link")).to_have_count(len(OTHERS) + 1)
    capture(page, "chat.png")


def test_picture_of_the_dashboard(visit: Visit, admin: Member, sql: Sql) -> None:
    for statement in (_USERS, _SESSIONS):
        sql.do(statement)
    store(sql, _calls())
    page = visit("/admin", admin, **SHARP)
    expect(page.get_by_role("heading", name=text("admin.figures.error_rate"))).to_be_visible()
    capture(page, "dashboard.png")


_USERS = """
INSERT INTO users (uuid, email, username, password_hash, is_verified, created_at)
SELECT gen_random_uuid(), 'user' || n || '@example.com', 'user' || n, '', true,
    now() - interval '60 days' * (1 - sqrt(n / 180.0))
FROM generate_series(1, 180) AS n
"""
# Reports count the messages that sessions state.
_SESSIONS = """
INSERT INTO chat_sessions (uuid, user_id, title, last_seq, message_count, created_at, updated_at, last_message_at)
SELECT gen_random_uuid(), users.id, 'A chat', 2 * n + 2, 2 * n + 2, moment, moment, moment
FROM users, generate_series(0, 4) AS n, LATERAL (SELECT created_at + (now() - created_at) * n / 5 AS moment) AS times
WHERE password_hash = ''
"""


def _calls() -> Iterator[Call]:
    """Yield two months of growing use with quiet nights and weekends."""
    rng = random.Random(16)  # noqa: S311 - the same picture each time
    end = datetime.now(UTC)
    for hours in range(60 * 24):
        moment = end - timedelta(hours=hours)
        busy = (0.2 if moment.weekday() >= 5 else 1) * (1 if 7 <= moment.hour <= 18 else 0.15)
        for _ in range(round(busy * rng.uniform(6, 12) * (1 - hours / 2400))):
            is_error, is_cached = rng.random() < 0.012, rng.random() < 0.14
            prompt, completion = (0, 0) if is_cached or is_error else (rng.randrange(200, 1800), rng.randrange(60, 700))
            latency = 12 if is_cached else int(rng.lognormvariate(7.9, 0.5))
            yield Call(
                turn_id=uuid4(),
                attempt=1,
                user=f"user{rng.randrange(1, 20 + round(160 * (1 - hours / 1440)))}",
                created_at=moment - timedelta(seconds=rng.randrange(3600)),
                model_requested=rng.choice(["gpt-4o", "gpt-4o-mini", "gpt-4o-mini"]),
                status="error" if is_error else "ok",
                error_code="provider_timeout" if is_error else None,
                is_fallback=rng.random() < 0.02,
                is_cached=is_cached and not is_error,
                is_estimated=False,
                prompt_tokens=prompt,
                completion_tokens=completion,
                cost_usd=Decimal(prompt * 2 + completion * 8) / 10**6,
                latency_ms=latency,
                first_token_ms=None if is_error else min(latency, int(rng.lognormvariate(6.1, 0.4))),
                purpose="answer",
                provider="openai",
            )
