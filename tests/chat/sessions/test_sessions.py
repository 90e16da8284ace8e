from collections.abc import Callable
from datetime import datetime
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import CHAT, Chat, assert_problem
from tests.support.provider import Provider, echoes

MISSING_SESSION = "5f0c9d4e-2b1a-4c3d-8e7f-6a5b4c3d2e1f"
"""Id of a session that does not exist. It is constant because it is part of test ids."""


def insert_sessions(sql: Sql, sessions: int, messages: int = 0) -> None:
    """Insert sessions of Ada with the given number of messages each, the newest last."""
    sql.do(
        """
        WITH made AS (
            INSERT INTO chat_sessions (uuid, user_id, title, message_count, last_seq, updated_at)
            SELECT gen_random_uuid(), (SELECT id FROM users WHERE username = 'ada'), 'Session ' || number, %(m)s, %(m)s,
                   now() + number * interval '1 second'
            FROM generate_series(1, %(s)s) AS number RETURNING id
        )
        INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
        SELECT gen_random_uuid(), made.id, seq, CASE seq %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END,
               'message ' || seq, 'complete'
        FROM made, generate_series(1, %(m)s) AS seq
        """,
        {"s": sessions, "m": messages},
    )


def test_new_session_has_a_default_title_and_no_messages(chat: Chat) -> None:
    response = chat.request("POST", "/sessions", json={})
    assert response.status_code == 201
    session = response.json()
    UUID(session["session_id"])
    assert (session["title"], session["message_count"]) == ("New Chat", 0)
    assert datetime.fromisoformat(session["created_at"]).utcoffset() is not None
    assert "ai_response" not in session
    assert "first_message" not in session


def test_title_and_context_are_stored(chat: Chat) -> None:
    session = chat.open(title=" Holiday plans ", context={"tone": "casual", "place": ["Rome", None, 1.5]})
    stored = chat.request("GET", f"/sessions/{session}").json()
    assert stored["title"] == "Holiday plans"
    assert stored["context"] == {"tone": "casual", "place": ["Rome", None, 1.5]}


def test_initial_message_is_answered_in_the_same_response(chat: Chat, provider: Provider) -> None:
    provider.always(echoes())
    response = chat.request("POST", "/sessions", json={"initial_message": "Hi"})
    assert response.status_code == 201
    session = response.json()
    assert session["message_count"] == 2
    assert (session["first_message"]["role"], session["first_message"]["content"]) == ("user", "Hi")
    assert session["ai_response"]["status"] == "complete"
    assert session["ai_response"]["content"].endswith("user: Hi")
    assert chat.request("GET", f"/sessions/{session['session_id']}").json()["message_count"] == 2


def test_session_detail_returns_the_newest_messages_in_chronological_order(chat: Chat, sql: Sql) -> None:
    insert_sessions(sql, 1, messages=60)
    session = chat.request("GET", "/sessions").json()["sessions"][0]["session_id"]

    def contents(query: str) -> list[str]:
        return [message["content"] for message in chat.request("GET", f"/sessions/{session}{query}").json()["messages"]]

    assert contents("") == [f"message {number}" for number in range(11, 61)]
    assert contents("?message_limit=2") == ["message 59", "message 60"]
    assert contents("?message_limit=200") == [f"message {number}" for number in range(1, 61)]
    assert "messages" not in chat.request("GET", f"/sessions/{session}?include_messages=false").json()


def test_pages_return_all_sessions_newest_first(chat: Chat, sql: Sql) -> None:
    insert_sessions(sql, 25)
    titles: list[str] = []
    for page in (1, 2, 3):
        listed = chat.request("GET", f"/sessions?page={page}&size=10").json()
        titles += [session["title"] for session in listed["sessions"]]
        assert listed["pagination"] == {
            "total": 25,
            "page": page,
            "size": 10,
            "pages": 3,
            "has_next": page < 3,
            "has_prev": page > 1,
        }
    assert titles == [f"Session {number}" for number in range(25, 0, -1)]


def test_page_past_the_end_is_empty(chat: Chat, sql: Sql) -> None:
    insert_sessions(sql, 3)
    listed = chat.request("GET", "/sessions?page=10000").json()
    assert listed["sessions"] == []
    assert listed["pagination"]["total"] == 3


def test_answer_moves_its_session_to_the_front_of_the_list(chat: Chat) -> None:
    older, newer = chat.open(title="older"), chat.open(title="newer")
    order = [session["session_id"] for session in chat.request("GET", "/sessions").json()["sessions"]]
    assert order == [newer, older]
    chat.ask(older, "Hi")
    order = [session["session_id"] for session in chat.request("GET", "/sessions").json()["sessions"]]
    assert order == [older, newer]


def test_list_shows_message_count_time_and_preview_of_the_last_message(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    provider.always(echoes())
    chat.ask(session, "x" * 500)
    (listed,) = chat.request("GET", "/sessions").json()["sessions"]
    assert listed["message_count"] == 2
    assert len(listed["last_message_preview"]) == 101
    assert listed["last_message_preview"].endswith("…")
    assert datetime.fromisoformat(listed["last_message_timestamp"]) >= datetime.fromisoformat(listed["created_at"])


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("rome", {"Rome in May"}),
        ("ROME", {"Rome in May"}),
        ("%", {"100% sure"}),
        ("_", {"snake_case"}),
        ("\\", {"back\\slash"}),
        ("'", set()),
        ("lions", {"snake_case"}),  # in one of its messages
        ("", {"Rome in May", "100% sure", "snake_case", "back\\slash"}),
    ],
)
def test_search_is_literal_and_case_insensitive_in_titles_and_messages(
    chat: Chat, search: str, found: set[str]
) -> None:
    for title in ("Rome in May", "100% sure", "back\\slash"):
        chat.open(title=title)
    chat.ask(chat.open(title="snake_case"), "Tell me of Lions")
    listed = chat.request("GET", "/sessions", params={"search": search}).json()
    assert {session["title"] for session in listed["sessions"]} == found
    assert listed["pagination"]["total"] == len(found)


@pytest.mark.parametrize("path", ["/sessions?size={size}", "/sessions?size={size}&search=session", "/sessions/{id}"])
def test_number_of_sql_statements_does_not_grow_with_the_list(
    chat: Chat, sql: Sql, index_texts: Callable[[], int], path: str
) -> None:
    counts = []
    for size in (1, 10, 100):
        insert_sessions(sql, size, messages=size)
        index_texts()
        newest = chat.request("GET", "/sessions").json()["sessions"][0]["session_id"]
        with counted_statements() as statements:
            response = chat.request("GET", path.format(size=size, id=newest))
        assert response.status_code == 200
        counts.append(len(statements))
    assert counts == [counts[0]] * 3
    # With `search`, also those that read the state of the index and find the sessions.
    assert 0 < counts[0] <= (5 if "search" in path else 4)


def test_deleting_a_session_deletes_its_messages_and_keeps_its_cost(chat: Chat, sql: Sql) -> None:
    session = chat.open()
    chat.ask(session, "a secret")
    assert chat.request("DELETE", f"/sessions/{session}").json() == {"message": "Session deleted."}
    assert_problem(chat.request("GET", f"/sessions/{session}"), 404, "not_found")
    assert_problem(chat.request("DELETE", f"/sessions/{session}"), 404, "not_found")
    assert chat.request("GET", "/sessions").json()["sessions"] == []
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT count(*) FROM llm_calls") == 1  # the ledger is kept


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/sessions/{id}", None),
        ("DELETE", "/sessions/{id}", None),
        ("POST", "/sessions/{id}/messages", {"message": "Hi"}),
    ],
)
def test_session_of_another_user_returns_the_same_404_as_a_missing_one(
    chat: Chat, others_chat: Chat, sql: Sql, provider: Provider, method: str, path: str, body: object
) -> None:
    session = chat.open(title="mine")
    missing = assert_problem(others_chat.request(method, path.format(id=uuid4()), json=body), 404, "not_found")
    others = assert_problem(others_chat.request(method, path.format(id=session), json=body), 404, "not_found")
    assert others | {"request_id": ""} == missing | {"request_id": ""}
    assert sql.value("SELECT title FROM chat_sessions") == "mine"
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert provider.calls == []


def test_lists_and_searches_omit_sessions_of_other_users(chat: Chat, others_chat: Chat) -> None:
    chat.ask(chat.open(title="mine"), "mine too")
    for query in ("", "?search=mine"):
        listed = others_chat.request("GET", f"/sessions{query}").json()
        assert listed["sessions"] == []
        assert listed["pagination"]["total"] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/direct"),
        ("POST", "/sessions"),
        ("GET", "/sessions"),
        ("GET", f"/sessions/{MISSING_SESSION}"),
        ("DELETE", f"/sessions/{MISSING_SESSION}"),
        ("POST", f"/sessions/{MISSING_SESSION}/messages"),
    ],
)
def test_routes_return_401_without_a_token(chat_client: TestClient, method: str, path: str) -> None:
    assert_problem(chat_client.request(method, f"{CHAT}{path}", json={"message": "Hi"}), 401, "unauthorized")
