"""Query plans of searches: they read documents of one user, however many other users have."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from app.database.connection import Database
from app.database.repositories.search import matches, presence
from app.database.repositories.search.matches import ChunkSearch, RankedQuery
from app.database.statements import Statement
from app.services.search.documents import lexeme_prefix
from tests.fixtures.database import Sql

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.sql.base import Executable

_OTHERS = 20_000
_CHUNKS = [
    ChunkSearch(number, [RankedQuery(f"'{lexeme_prefix(1, number)}/word'", 1.0)]) for number in reversed(range(20))
]
_MATCHES = matches._chunk_parameters(_CHUNKS) | {
    "p_user_id": 1,
    "p_now": datetime.now(UTC),
    "p_limit": 1,
    "p_characters": 1,
}
_QUERIES = [query.text for chunk in _CHUNKS for query in chunk.queries]


@pytest.fixture
def documents(sql: Sql) -> None:
    """Documents of another user."""
    sql.do("INSERT INTO users (uuid, email, username, password_hash) VALUES (gen_random_uuid(), 'b', 'bob', '')")
    sql.do(
        "INSERT INTO chat_sessions (uuid, user_id, title)"
        " SELECT gen_random_uuid(), users.id, '' FROM users, generate_series(1, %s)",
        [_OTHERS],
    )
    sql.do(
        "INSERT INTO search_documents (session_id, title_of_id, terms, created_at)"
        " SELECT id, id, array_to_tsvector(ARRAY['2.' || id / 100 || '/word', '2.' || id / 100 || '/' || id]), now()"
        " FROM chat_sessions"
    )
    sql.do("ANALYZE search_documents, chat_sessions")


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize(
    ("executable", "parameters"),
    [
        (matches._MATCHES, _MATCHES),
        (matches._SESSIONS, {"p_queries": _QUERIES, "p_limit": 1}),
        (presence._FIND, {"queries": _QUERIES}),
    ],
    ids=["matches", "sessions", "presence"],
)
async def test_searches_read_the_index_and_not_the_table(
    pool: Database, executable: "Executable", parameters: "Mapping[str, object]"
) -> None:
    statement = Statement(executable)
    async with pool.driver_connection() as connection:
        rows = await connection.fetch(f"EXPLAIN {statement.sql}", *statement.arguments(parameters))
    plan = "\n".join(row["QUERY PLAN"] for row in rows)
    assert "Index Scan on ix_search_documents_terms" in plan
    assert "Seq Scan on search_documents" not in plan
