"""Workload of three weeks of turns, and the expected figures, counted from its rows."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from pydantic_core import to_json

from tests.fixtures.database import Sql

START = datetime(2026, 10, 11, 22, 0, tzinfo=UTC)
"""A Monday in Berlin, two weeks before the clock change."""
END = START + timedelta(days=22, hours=1)
"""Three weeks and a day later in local time."""
MODELS = ("gpt-a", "gpt-b", "=cmd|' /C calc'!A1")
PROVIDERS = ("azure", "ollama", None)
"""None: rows of releases that had one provider only."""
USERS = ("ada", "bob", "cyd")
_CODES = ("provider_timeout", "provider_rejected")


@dataclass(frozen=True)
class Call:
    """Ledger row."""

    turn_id: UUID
    attempt: int
    user: str | None
    created_at: datetime
    model_requested: str
    status: str
    error_code: str | None
    is_fallback: bool
    is_cached: bool
    is_estimated: bool
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal | None
    latency_ms: int
    first_token_ms: int | None
    purpose: str
    provider: str | None


def calls() -> list[Call]:
    """Return the ledger rows, including some before, after and at the edges of the three weeks."""
    rng = random.Random(7)  # noqa: S311 - reproducible
    seconds = int((END - START).total_seconds())
    moments = [START + timedelta(seconds=rng.randrange(-seconds // 2, 3 * seconds // 2)) for _ in range(400)]
    edges = [START, END, START - timedelta(microseconds=1), END - timedelta(microseconds=1)]
    return [call for moment in moments + edges for call in _turn(rng, moment)]


def _turn(rng: random.Random, moment: datetime) -> Iterator[Call]:
    turn, user = uuid4(), rng.choice([*USERS, "ada", None])
    purpose = rng.choices(["answer", "summary"], [6, 1])[0]
    attempts = rng.choices([1, 2, 3], [6, 2, 1])[0]
    last = rng.choices(["ok", "error", "cancelled"], [6, 2, 1])[0]
    for attempt in range(1, attempts + 1):
        status = last if attempt == attempts else "error"
        is_cached = status == "ok" and attempts == 1 and purpose == "answer" and rng.random() < 0.2
        yield Call(
            turn_id=turn,
            attempt=attempt,
            user=user,
            created_at=moment,
            model_requested=rng.choice(MODELS),
            status=status,
            error_code=rng.choice(_CODES) if status == "error" else None,
            is_fallback=attempt > 1 and rng.random() < 0.7,
            is_cached=is_cached,
            is_estimated=rng.random() < 0.3,
            prompt_tokens=0 if is_cached else rng.randrange(1000),
            completion_tokens=0 if is_cached else rng.randrange(1000),
            cost_usd=Decimal(rng.randrange(10**7)) / 10**9 if rng.random() < 0.9 else None,
            latency_ms=int(rng.lognormvariate(7, 1)),
            first_token_ms=rng.choice([None, rng.randrange(1, 900)]),
            purpose=purpose,
            provider=rng.choice(PROVIDERS),
        )


def store(sql: Sql, ledger: Iterable[Call]) -> None:
    """Append rows to the ledger. Users without an account count as erased."""
    names = ", ".join(field.name for field in fields(Call) if field.name != "user")
    sql.do(
        f"INSERT INTO llm_calls (user_id, {names})"  # noqa: S608 - our own names
        f" SELECT (SELECT id FROM users WHERE username = rows->>'user'), {names}"
        " FROM jsonb_array_elements(%s) AS rows, jsonb_populate_record(NULL::llm_calls, rows) AS row",
        [to_json([asdict(call) for call in ledger]).decode()],
    )


def expected_figures(ledger: Iterable[Call], *, of_model: bool = False) -> dict[str, Any]:
    """Return the expected fields of `UsageFigures`."""
    found = list(ledger)
    answers = [call for call in found if call.purpose == "answer"]
    last = {call.turn_id: call for call in sorted(answers, key=lambda call: call.attempt)}.values()
    return {
        "turns": sum(call.attempt == 1 for call in answers),
        "turns_failed": None if of_model else sum(call.status == "error" for call in last),
        "turns_cancelled": sum(call.status == "cancelled" for call in answers),
        "turns_by_fallback": sum(call.status == "ok" and call.is_fallback for call in answers),
        "turns_cached": sum(call.is_cached for call in answers),
        "calls": len(found),
        "calls_failed": sum(call.status == "error" for call in found),
        "calls_estimated": sum(call.is_estimated for call in found),
        "calls_unpriced": sum(call.cost_usd is None for call in found),
        "prompt_tokens": sum(call.prompt_tokens for call in found),
        "completion_tokens": sum(call.completion_tokens for call in found),
        "total_tokens": sum(call.prompt_tokens + call.completion_tokens for call in found),
        "cost_usd": f"{sum((call.cost_usd or Decimal(0) for call in found), Decimal(0)):.9f}",
    }


def calls_between(ledger: Iterable[Call], start: datetime, end: datetime) -> list[Call]:
    return [call for call in ledger if start <= call.created_at < end]
