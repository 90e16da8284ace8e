"""Usage by day: exact, bounded, and of the caller only."""

from datetime import UTC, datetime, timedelta

import pytest

from app.database.repositories.usage.rollup_tables import DAILY_RECONCILIATION_ID
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers


def test_every_day_is_listed_with_its_usage(chat: Chat, others_chat: Chat, provider: Provider, sql: Sql) -> None:
    session = chat.open()
    for usage in [(10, 5), (20, 7)]:
        provider.script(answers("Fine.", usage=usage))
        chat.ask(session, "How are you?")
    sql.do("INSERT INTO usage_repair (id, passes) VALUES (%s, 2)", [DAILY_RECONCILIATION_ID])
    sql.do(
        "INSERT INTO user_usage_days (user_id, day, purpose, calls, turns, prompt_tokens, completion_tokens, cost_usd)"
        " SELECT id, date_trunc('day', now(), 'UTC') - number * interval '1 day', 'turn', 3, 2, 100, 50, 0.25"
        " FROM users, unnest(ARRAY[0, 6, 7]) AS number WHERE username = 'ada'"
    )
    days = chat.request("GET", "/usage/days?days=7").json()["days"]
    today = datetime.now(UTC).date()
    assert [day["day"] for day in days] == [str(today - timedelta(days=age)) for age in range(6, -1, -1)]
    assert days[-1] | {"cost_usd": ""} == {
        "day": str(today),
        "turns": 4,
        "calls": 5,
        "cached_answers": 0,
        "prompt_tokens": 130,
        "completion_tokens": 62,
        "total_tokens": 192,
        "cost_usd": "",
        "unpriced_calls": 2,
    }
    assert (days[0]["calls"], days[0]["cost_usd"]) == (3, "0.250000000")
    assert [day["calls"] for day in days[1:-1]] == [0] * 5
    assert all(day["calls"] == 0 for day in others_chat.request("GET", "/usage/days").json()["days"])


def test_quarter_hours_are_read_until_the_daily_roll_ups_are_complete(chat: Chat, sql: Sql) -> None:
    sql.do(
        "INSERT INTO user_usage_quarters"
        " (user_id, quarter, model, purpose, calls, turns, prompt_tokens, completion_tokens, cost_usd)"
        " SELECT id, date_trunc('day', now(), 'UTC') - interval '25 hours', 'gpt', 'answer', 3, 2, 100, 50, 0.25"
        " FROM users WHERE username = 'ada'"
    )
    days = chat.request("GET", "/usage/days?days=3").json()["days"]
    assert [day["calls"] for day in days] == [3, 0, 0]


def test_thirty_days_are_the_default_and_take_one_statement_more_than_the_check_of_the_caller(chat: Chat) -> None:
    with counted_statements() as plain:
        chat.request("GET", "/quota")
    with counted_statements() as statements:
        response = chat.request("GET", "/usage/days")
    assert len(response.json()["days"]) == 30
    assert len(statements) <= max(len(plain), 3)


@pytest.mark.parametrize("days", ["0", "367", "-1", "1e3", "x", str(10**30), ""])
def test_other_ranges_are_refused(chat: Chat, days: str) -> None:
    assert_problem(chat.request("GET", f"/usage/days?days={days}"), 422, "validation_error")
