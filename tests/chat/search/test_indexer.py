"""Indexer under concurrent changes."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import Select, text
from sqlalchemy.dialects import postgresql

from app.database.connection import Database, DatabaseConnection
from app.database.repositories.search import backfill, indexing
from app.services.search.indexer import SearchIndexer
from tests.chat.search.helpers import fill
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat

INSERT = """
WITH session AS (SELECT id FROM chat_sessions ORDER BY random() LIMIT 1 FOR UPDATE),
counted AS (UPDATE chat_sessions SET last_seq = last_seq + 1 WHERE id = (SELECT id FROM session) RETURNING id, last_seq)
INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
SELECT gen_random_uuid(), id, last_seq, 'user', 'word ' || last_seq, 'complete' FROM counted
"""
CHANGES = (
    INSERT,
    INSERT,
    "DELETE FROM chat_messages WHERE id IN (SELECT id FROM chat_messages ORDER BY random() LIMIT 1)",
    "UPDATE chat_sessions SET title = 'title ' || md5(random()::text) WHERE mod(id, 5) = floor(random() * 5)",
)


async def test_index_equals_the_texts_after_concurrent_changes_and_indexers(
    pool: Database, chat: Chat, sql: Sql
) -> None:
    for number in range(5):
        chat.open(title=f"session {number}")
    source = random.Random(1)  # noqa: S311 - not a secret

    async def change() -> None:
        for _ in range(60):
            await asyncio.to_thread(sql.do, source.choice(CHANGES))

    async def index(until: Callable[[], bool]) -> None:
        while not until():
            await SearchIndexer(pool).index_all()
            await asyncio.sleep(0)

    changes = asyncio.create_task(change())
    indexers: list[Awaitable[None]] = [index(changes.done) for _ in range(3)]
    await asyncio.gather(changes, *indexers)
    await SearchIndexer(pool).index_all()
    assert sql.value("SELECT count(*) FROM search_pending") == 0
    assert sql.value(
        "SELECT array_agg(message_id ORDER BY message_id) = (SELECT array_agg(id ORDER BY id) FROM chat_messages)"
        " FROM search_documents WHERE message_id IS NOT NULL"
    )
    for row in sql.rows(
        "SELECT title, terms::text FROM chat_sessions AS s JOIN search_documents ON title_of_id = s.id"
    ):
        assert f"/{row['title'].split()[1]}'" in row["terms"]


@pytest.mark.parametrize(
    ("change", "is_left"),
    [
        ("UPDATE chat_sessions SET title = 'new'", True),
        ("UPDATE chat_messages SET content = 'new', updated_at = now()", True),
        ("DELETE FROM chat_messages", False),
        ("DELETE FROM chat_sessions", False),
    ],
)
@pytest.mark.parametrize("is_indexed_meanwhile", [True, False])
async def test_text_that_is_changed_between_reading_and_storing_is_not_indexed_as_it_was(
    pool: Database,
    chat: Chat,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    *,
    is_left: bool,
    is_indexed_meanwhile: bool,
) -> None:
    fill(sql, chat, ["canary"])
    sql.do("UPDATE chat_sessions SET title = 'canary'")
    last_id = sql.value("SELECT max(id) FROM search_pending")
    reserve = indexing.reserve_numbers

    async def reserve_after_change(connection: DatabaseConnection, counts: Mapping[int, int]) -> dict[int, int]:
        monkeypatch.setattr(indexing, "reserve_numbers", reserve)
        await asyncio.to_thread(sql.do, change)
        if is_indexed_meanwhile:
            # As a search does if more texts are queued than it indexes: those that were read stay queued.
            newest = sql.rows("SELECT id FROM search_pending WHERE id > %s", [last_id])
            await SearchIndexer(pool).index_given([row["id"] for row in newest], characters=1000)
        return await reserve(connection, counts)

    monkeypatch.setattr(indexing, "reserve_numbers", reserve_after_change)
    await SearchIndexer(pool).index_all()
    await SearchIndexer(pool).index_all()
    is_changed = "title_of_id IS NOT NULL" if "chat_sessions" in change else "message_id IS NOT NULL"
    terms = sql.value(f"SELECT string_agg(terms::text, ' ') FROM search_documents WHERE {is_changed}") or ""  # noqa: S608
    assert "canary" not in terms
    assert ("new" in terms) == is_left
    assert sql.value("SELECT count(*) FROM search_pending") == 0


async def test_text_that_is_too_long_for_a_search_is_left_to_the_worker(pool: Database, chat: Chat, sql: Sql) -> None:
    fill(sql, chat, ["short text", f"{'long ' * 300} canary"])
    queued = [row["id"] for row in sql.rows("SELECT id FROM search_pending ORDER BY id")]
    await SearchIndexer(pool).index_given(queued, characters=1000)
    assert sql.value("SELECT count(*) FROM search_pending") == 1
    assert "short" in sql.value("SELECT string_agg(terms::text, ' ') FROM search_documents")
    await SearchIndexer(pool).index_all()
    assert "canary" in sql.value("SELECT string_agg(terms::text, ' ') FROM search_documents")


async def test_turn_that_completes_is_not_delayed_by_the_indexer(pool: Database, chat: Chat, sql: Sql) -> None:
    session = chat.open(title="title")
    sql.do("BEGIN")
    try:
        # As a turn does while it stores its answer.
        sql.do("SELECT 1 FROM chat_sessions WHERE uuid = %s FOR UPDATE", [session])
        assert await SearchIndexer(pool).index_all() == 0  # it skips the session instead of waiting
    finally:
        sql.do("COMMIT")
    assert await SearchIndexer(pool).index_all() == 1


async def test_indexer_does_not_wait_for_an_account_that_is_erased(pool: Database, chat: Chat, sql: Sql) -> None:
    chat.open(title="title")
    sql.do("BEGIN")
    try:
        sql.do("SELECT 1 FROM users WHERE uuid = %s FOR UPDATE", [chat.user.id])
        assert await SearchIndexer(pool).index_all() == 0
        sql.do("DELETE FROM users WHERE uuid = %s", [chat.user.id])
    finally:
        sql.do("COMMIT")
    assert await SearchIndexer(pool).index_all() == 1  # the text is discarded
    assert sql.everything()["search_documents"] == sql.everything()["search_pending"] == ""


@pytest.mark.parametrize("statement", backfill._BACKFILLS)
async def test_backfill_that_is_complete_reads_no_texts(
    pool: Database, chat: Chat, sql: Sql, statement: Select[Any]
) -> None:
    for _ in range(3):
        chat.ask(chat.open(title="title"), "question")
    sql.do("INSERT INTO search_backfill (id, after_id, last_id) VALUES (1, 1000, 1000), (2, 1000, 1000)")
    sql.do("ANALYZE chat_messages, chat_sessions, search_backfill")
    async with pool.autocommit() as connection:
        bound = statement.params({"p_limit": 100})
        compiled = bound.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}"
        await connection.execute(text("SET enable_seqscan = off"))  # the tables are small
        (plan,) = await connection.scalar(text(explain)) or []
    read = [node for node in _nodes(plan["Plan"]) if node.get("Relation Name") in {"chat_messages", "chat_sessions"}]
    assert read
    assert all(node["Actual Rows"] == 0 and not node.get("Rows Removed by Filter") for node in read)


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)
