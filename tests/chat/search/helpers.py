"""Requests and data for tests of the search."""

from typing import Any

from tests.fixtures.database import Sql
from tests.fixtures.services import Chat


def search(chat: Chat, q: str, **parameters: object) -> list[dict[str, Any]]:
    """Return all hits of all pages."""
    hits: list[dict[str, Any]] = []
    while True:
        response = chat.request("GET", "/search", params={"q": q, **parameters})
        assert response.status_code == 200, response.text
        page = response.json()
        hits.extend(page["hits"])
        if page["next_cursor"] is None:
            return hits
        parameters["cursor"] = page["next_cursor"]


def texts(hits: list[dict[str, Any]]) -> list[str]:
    return ["".join(piece["text"] for piece in hit["snippet"]) for hit in hits]


def fill(sql: Sql, chat: Chat, contents: list[str], *, age: str = "0 days") -> str:
    """Insert a session with these messages, and return its id."""
    session = chat.open(title="Untitled")
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status, created_at)"
        " SELECT gen_random_uuid(), s.id, m.number, 'user', m.content, 'complete', now() - %s::interval"
        " FROM chat_sessions s, unnest(%s::text[]) WITH ORDINALITY AS m (content, number) WHERE s.uuid = %s",
        [age, contents, session],
    )
    return session
