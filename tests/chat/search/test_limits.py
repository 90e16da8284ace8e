"""Bad input, limits and cost of searches."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.chat.search import service
from app.database.repositories.search import matches, presence
from tests.chat.search.helpers import fill, search
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import Chat, assert_problem
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"q": ""},
        {"q": " \t"},
        {"q": "x" * 201},
        {"q": "\x00"},
        {"q": "x", "in": "all"},
        {"q": "x", "limit": 0},
        {"q": "x", "limit": 51},
        {"q": "x", "page": 1},
    ],
)
def test_invalid_parameters_are_refused(chat: Chat, parameters: dict[str, object]) -> None:
    assert_problem(chat.request("GET", "/search", params=parameters), 422, "validation_error")


@pytest.mark.parametrize("q", ["'", "''", "\\", "'\\''", "a & | !", "((", "a:*", "<->", "%", "_", '"', "🏴", "." * 200])
def test_no_query_is_a_syntax_error(chat: Chat, sql: Sql, q: str) -> None:
    fill(sql, chat, ["a text"])
    assert chat.request("GET", "/search", params={"q": q}).status_code == 200
    assert chat.request("GET", "/sessions", params={"search": q}).status_code == 200


def test_concurrent_searches_of_a_user_are_limited(
    chat: Chat, others_chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    for person in (chat, others_chat):
        person.open(title="needle")
    gate, entered, find = threading.Event(), [], matches.find

    async def held_find(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as the repository
        entered.append(named["user_id"])
        await asyncio.to_thread(gate.wait, 60)
        return await find(*arguments, **named)

    monkeypatch.setattr(matches, "find", held_find)
    with ThreadPoolExecutor(3) as pool:
        mine = [pool.submit(search, chat, "needle") for _ in range(service.SEARCHES_PER_USER)]
        wait_until(lambda: len(entered) == service.SEARCHES_PER_USER)
        refused = chat.request("GET", "/search", params={"q": "needle"})
        listed = chat.request("GET", "/sessions", params={"search": "needle"})
        others = pool.submit(search, others_chat, "needle")
        wait_until(lambda: len(set(entered)) == 2)
        gate.set()
        assert [len(each.result()) for each in [*mine, others]] == [1, 1, 1]
    for response in (refused, listed):
        assert_problem(response, 429, "too_many_searches")
        assert int(response.headers["Retry-After"]) > 0
    assert len(search(chat, "needle")) == 1


def test_slow_search_is_refused_with_a_code(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    chat.open(title="needle")

    async def slow_find(*_: object, **__: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(service, "SEARCH_TIMEOUT", 0.05)
    monkeypatch.setattr(matches, "find", slow_find)
    response = chat.request("GET", "/search", params={"q": "needle"})
    assert_problem(response, 503, "search_timeout")
    assert int(response.headers["Retry-After"]) > 0


def test_search_that_postgresql_cancels_is_refused_with_the_same_code(chat: Chat, sql: Sql) -> None:
    chat.open(title="needle")
    for path, parameters in (("/search", {"q": "needle"}), ("/sessions", {"search": "needle"})):
        # The state of the index is read before, without this table.
        assert chat.request("GET", path, params=parameters).status_code == 200
        sql.do("BEGIN; LOCK TABLE search_documents")
        try:
            with ThreadPoolExecutor(1) as pool:
                pending = pool.submit(chat.request, "GET", path, params=parameters)
                sql.wait_for_blocked()
                sql.do("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                assert_problem(pending.result(), 503, "search_timeout")
        finally:
            sql.do("ROLLBACK")


def test_variants_are_not_looked_up_beside_a_word_that_does_not_occur(
    chat: Chat, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sql, chat, ["a long system"])
    probes: list[str] = []
    find_present = presence.find_present

    async def recorded(connection: Any, queries: list[str]) -> set[int]:  # noqa: ANN401 - as the repository
        probes.extend(queries)
        return await find_present(connection, queries)

    monkeypatch.setattr(presence, "find_present", recorded)
    assert len(search(chat, "lomg systm")) == 1
    assert any("/system'" in query for query in probes)
    probes.clear()
    assert search(chat, "mistaken systm") == []
    assert not any("/system'" in query for query in probes)


def test_number_of_statements_does_not_depend_on_the_number_of_hits(
    chat: Chat, sql: Sql, index_texts: Callable[[], int]
) -> None:
    counts = []
    for size in (1, 10, 50):
        fill(sql, chat, ["needle"] * size)
        index_texts()
        with counted_statements() as statements:
            assert chat.request("GET", "/search", params={"q": '"needle"', "limit": 50}).status_code == 200
        counts.append(len(statements))
    assert counts == [3, 3, 3]  # authentication, state of the index, search
