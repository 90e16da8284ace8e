"""Lists of sessions: filters, orders, cursors."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Select
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from app.database.repositories.chat import session_list
from app.database.repositories.chat.session_list import SessionFilter, SessionPosition
from app.database.repositories.turns import active_turns
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import Chat, assert_problem

SORTS = ["updated", "created", "title"]


def fill(sql: Sql, count: int, owner: str = "ada") -> None:
    """Insert sessions; some have the same times and titles."""
    sql.do(
        """
        INSERT INTO chat_sessions (uuid, user_id, title, is_active, is_pinned, tags, created_at, updated_at)
        SELECT gen_random_uuid(), (SELECT id FROM users WHERE username = %(owner)s),
               CASE number %% 3 WHEN 0 THEN 'b' WHEN 1 THEN 'A' ELSE 'ä ' || number END, number %% 5 <> 0,
               number %% 4 = 0, CASE WHEN number %% 2 = 0 THEN '{even}'::text[] ELSE '{}' END,
               timestamptz '2026-11-01' + number / 3 * interval '1 s',
               timestamptz '2026-11-02' - number / 2 * interval '1 s'
        FROM generate_series(1, %(count)s) AS number
        """,
        {"count": count, "owner": owner},
    )


def get(chat: Chat, **query: object) -> dict[str, Any]:
    response = chat.request(
        "GET",
        "/sessions",
        params={name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()},
    )
    assert response.status_code == 200, response.text
    return dict(response.json())


def parts(chat: Chat, **query: object) -> Iterator[list[dict[str, Any]]]:
    """Yield the parts of a list, read by cursor."""
    part = get(chat, **query)
    while True:
        yield part["sessions"]
        if part["next_cursor"] is None:
            return
        part = get(chat, **query, cursor=part["next_cursor"])
        assert part["pagination"] is None


def ids(sessions: list[dict[str, Any]]) -> list[str]:
    return [session["session_id"] for session in sessions]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize(
    "filters", [{}, {"archived": True}, {"pinned": True}, {"pinned": False, "tag": "even"}, {"search": "b"}]
)
def test_cursor_and_pages_return_the_same_sessions(
    chat: Chat, others_chat: Chat, sql: Sql, index_texts: Callable[[], int], sort: str, filters: dict[str, object]
) -> None:
    fill(sql, 40)
    fill(sql, 5, owner="bob")
    index_texts()
    whole = get(chat, **filters, sort=sort, size=100)
    assert whole["next_cursor"] is None
    assert whole["pagination"]["total"] == len(whole["sessions"])
    paged = [get(chat, **filters, sort=sort, size=3, page=page)["sessions"] for page in range(1, 15)]
    by_cursor = list(parts(chat, **filters, sort=sort, size=3))
    assert [*chain(*paged)] == [*chain(*by_cursor)] == whole["sessions"]
    assert [len(part) for part in by_cursor[:-1]] == [3] * (len(by_cursor) - 1)
    rows = whole["sessions"]
    assert {row["is_archived"] for row in rows} == {bool(filters.get("archived"))}
    assert len(rows) == {"{}": 32, "{'archived': True}": 8, "{'pinned': True}": 8}.get(str(filters), len(rows))
    match sort:
        case "updated":
            assert rows == sorted(rows, key=lambda row: row["updated_at"], reverse=True)
        case "created":
            assert rows == sorted(rows, key=lambda row: row["created_at"], reverse=True)
        case _:
            assert [row["title"][0].lower() for row in rows if row["title"] in "Ab"] == sorted(
                row["title"].lower() for row in rows if row["title"] in "Ab"
            )


def test_list_can_begin_with_a_page_and_go_on_with_the_cursor(chat: Chat, sql: Sql) -> None:
    fill(sql, 20)
    whole = ids(get(chat, size=100)["sessions"])
    second = get(chat, size=5, page=2)
    third = get(chat, size=5, cursor=second["next_cursor"])
    assert ids(second["sessions"] + third["sessions"]) == whole[5:15]


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["read", "use", "create", "delete", "archive", "rename"]), st.integers(0, 30)),
    max_size=25,
)


def touch(chat: Chat, sql: Sql, operation: str, session: str, number: int) -> str:
    """Change the list, and return the session that was changed."""
    match operation:
        case "create":
            return chat.open(title="b")
        case "use":
            sql.do("UPDATE chat_sessions SET updated_at = now() WHERE uuid = %s", [session])
        case "rename":
            chat.request("PATCH", f"/sessions/{session}", json={"title": f"c {number}"})
        case "archive":
            chat.request("PATCH", f"/sessions/{session}", json={"is_archived": number % 2 == 0})
        case _:
            chat.request("DELETE", f"/sessions/{session}")
    return session


@pytest.mark.parametrize("sort", SORTS)
def test_sessions_that_are_not_touched_occur_once_while_others_move(chat: Chat, sql: Sql, sort: str) -> None:
    stays = {"created": {"use", "rename"}, "title": {"use"}, "updated": {"rename"}}[sort]

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(OPERATIONS, st.integers(1, 5))
    def check(operations: list[tuple[str, int]], size: int) -> None:
        sql.do("DELETE FROM chat_sessions")
        fill(sql, 12)
        reference = ids(get(chat, size=100, sort=sort)["sessions"])
        reader = parts(chat, size=size, sort=sort)
        seen, touched = ids(next(reader)), set[str]()
        for operation, number in operations:
            if operation == "read":
                seen += ids(next(reader, []))
                continue
            session = touch(chat, sql, operation, reference[number % len(reference)], number)
            if operation not in stays:
                touched.add(session)
        for part in reader:
            seen += ids(part)
        assert [one for one in seen if one not in touched] == [one for one in reference if one not in touched]
        if sort != "title":  # a session that moves down may be read at both places
            assert len(seen) == len(set(seen))

    check()


@pytest.mark.parametrize(
    "change",
    [
        {"sort": "created"},
        {"sort": "title"},
        {"archived": "true"},
        {"pinned": "false"},
        {"tag": "even"},
        {"search": "b"},
        {"page": "1"},
        {"cursor": "AAAA"},
        {"cursor": "not a cursor"},
        {"cursor": ""},
        {"cursor": "x" * 2001},
        {"cursor": "é"},
    ],
)
def test_cursor_of_another_list_or_edited_cursor_is_refused(chat: Chat, sql: Sql, change: dict[str, str]) -> None:
    fill(sql, 10)
    cursor = get(chat, size=2)["next_cursor"]
    assert_problem(chat.request("GET", "/sessions", params={"cursor": cursor} | change), 422, "validation_error")
    for edited in (
        cursor[:-3],
        cursor + "AAAA",
        cursor[4:],
        cursor[:30] + ("B" if cursor[30] == "A" else "A") + cursor[31:],
    ):
        problem = assert_problem(chat.request("GET", "/sessions", params={"cursor": edited}), 422, "validation_error")
        assert edited not in str(problem)


def test_cursor_of_another_user_is_refused(chat: Chat, others_chat: Chat, sql: Sql) -> None:
    fill(sql, 10)
    cursor = get(chat, size=2)["next_cursor"]
    assert_problem(others_chat.request("GET", "/sessions", params={"cursor": cursor}), 422, "validation_error")


@pytest.mark.parametrize(
    "query",
    [
        "sort=size",
        "archived=maybe",
        "pinned=2",
        "tag=",
        "tag=%20",
        "tag=a%00",
        "page=0",
        "page=1.5",
        "size=101",
        "unknown=1",
    ],
)
def test_invalid_filters_are_refused(chat: Chat, query: str) -> None:
    assert_problem(chat.request("GET", f"/sessions?{query}"), 422, "validation_error")


def test_reading_by_cursor_takes_one_statement_less_than_a_page(chat: Chat, sql: Sql) -> None:
    fill(sql, 50)
    with counted_statements() as of_page:
        cursor = get(chat, size=10)["next_cursor"]
    with counted_statements() as of_cursor:
        get(chat, size=10, cursor=cursor)
    assert len(of_cursor) == len(of_page) - 1


def explain(sql: Sql, statement: Select[Any]) -> str:
    dialect = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
    text = str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    return "\n".join(row["QUERY PLAN"] for row in sql.rows(f"EXPLAIN {text.replace('%', '%%')}"))


@pytest.mark.parametrize(
    "criteria",
    [SessionFilter(), SessionFilter(is_archived=True), SessionFilter(is_pinned=True), SessionFilter(tags=["even"])],
)
def test_list_reads_its_index_in_order(chat: Chat, sql: Sql, criteria: SessionFilter) -> None:
    fill(sql, 3000)
    sql.do("ANALYZE chat_sessions")
    user_id = sql.value("SELECT id FROM users WHERE username = 'ada'")
    position = SessionPosition(datetime(2026, 11, 2, tzinfo=UTC), 100_000)
    for start in (0, position):
        statement = session_list.list_statement(user_id, criteria, "updated", start).limit(20)
        plan = explain(sql, statement)
        assert "Index Scan using ix_chat_sessions_user_id_" in plan
        assert "Sort" not in plan


def test_answers_under_way_are_found_by_the_recent_sessions_of_their_owner(chat: Chat, sql: Sql) -> None:
    fill(sql, 3000)
    sql.do("ANALYZE chat_sessions")
    values = {"p_user_id": sql.value("SELECT id FROM users WHERE username = 'ada'"), "p_max_age": timedelta(hours=1)}
    statement = active_turns._LIST.params(values | {"p_limit": 100})
    plan = explain(sql, statement)
    assert "Index Scan using ix_chat_sessions_user_id_is_active_updated_at" in plan
    assert "Filter: (updated_at" not in plan
