"""Search in titles and messages."""

from collections.abc import Callable

import pytest

from app.services.search import documents
from tests.chat.search.helpers import fill, search
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers, fails


def test_hit_shows_where_the_text_is(chat: Chat, provider: Provider) -> None:
    session = chat.open(title="Holiday plans")
    provider.always(answers("Lisbon is warm in March."))
    turn = chat.ask(session, "Where is it warm?")
    (hit,) = search(chat, "lisbon")
    assert hit == {
        "kind": "message",
        "session_id": session,
        "session_title": "Holiday plans",
        "is_archived": False,
        "message_id": turn["ai_response"]["id"],
        "role": "assistant",
        "timestamp": turn["ai_response"]["timestamp"],
        "is_corrected": False,
        "snippet": [{"text": "Lisbon", "is_match": True}, {"text": " is warm in March.", "is_match": False}],
    }
    (hit,) = search(chat, "holiday")
    assert (hit["kind"], hit["message_id"], hit["role"]) == ("title", None, None)
    assert {hit["role"] for hit in search(chat, "warm")} == {"user", "assistant"}


@pytest.mark.parametrize(("scope", "kinds"), [("titles", {"title"}), ("messages", {"message"}), ("both", None)])
def test_scope_restricts_the_hits(chat: Chat, scope: str, kinds: set[str] | None) -> None:
    chat.ask(chat.open(title="Rome"), "Tell me of Rome")
    assert {hit["kind"] for hit in search(chat, "rome", **{"in": scope})} == (kinds or {"title", "message"})


def test_what_was_just_written_is_found_without_the_worker(chat: Chat, index_texts: Callable[[], int]) -> None:
    chat.ask(chat.open(title="first"), "needle one")
    assert len(search(chat, "needle")) == 1
    chat.ask(chat.open(title="second"), "needle two")
    assert len(search(chat, "needle")) == 2
    assert index_texts() == 0  # the searches have indexed everything


def test_worker_indexes_texts_before_anybody_searches(chat: Chat, sql: Sql, index_texts: Callable[[], int]) -> None:
    chat.ask(chat.open(title="title"), "question")
    assert sql.value("SELECT count(*) FROM search_documents") == 0
    assert index_texts() == 3
    assert sql.value("SELECT count(*) FROM search_documents") == 3
    assert sql.value("SELECT count(*) FROM search_pending") == 0


def test_other_users_texts_are_not_found(chat: Chat, others_chat: Chat, index_texts: Callable[[], int]) -> None:
    chat.ask(chat.open(title="needle title"), "needle")
    index_texts()
    for query in ("needle", "needl", "need", "nedle", '"needle"', "'needle'", "1.0/needle", "* needle"):
        assert search(others_chat, query) == []
        assert others_chat.request("GET", "/sessions", params={"search": query}).json()["sessions"] == []


def test_hits_of_a_session_of_another_user_are_dropped_even_if_the_index_is_wrong(
    chat: Chat, others_chat: Chat, sql: Sql
) -> None:
    fill(sql, chat, ["needle"])
    fill(sql, others_chat, ["other"])
    assert len(search(chat, "needle")) == 1
    sql.do("UPDATE chat_sessions SET user_id = (SELECT id FROM users WHERE username = 'bob')")
    assert search(chat, "needle") == []


def test_pending_answer_is_found_when_it_is_complete(chat: Chat, sql: Sql, index_texts: Callable[[], int]) -> None:
    session = fill(sql, chat, ["question"])
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status, lease_expires_at)"
        " SELECT gen_random_uuid(), id, 2, 'assistant', '', 'pending', now() + interval '1 hour' FROM chat_sessions"
        " WHERE uuid = %s",
        [session],
    )
    index_texts()
    assert sql.value("SELECT count(*) FROM search_documents") == 2
    sql.do(
        "UPDATE chat_messages SET status = 'cancelled', content = 'needle', lease_expires_at = NULL"
        " WHERE status = 'pending'"
    )
    assert len(search(chat, "needle")) == 1


def test_failed_answer_is_found_by_its_text(chat: Chat, provider: Provider) -> None:
    provider.script(fails(400), fails(400))
    turn = chat.ask(chat.open(), "Hi")
    assert turn["ai_response"]["status"] == "failed"
    word = max(turn["ai_response"]["content"].split(), key=len)
    assert turn["ai_response"]["id"] in {hit["message_id"] for hit in search(chat, word)}


def test_lease_renewal_and_other_changes_queue_nothing(chat: Chat, sql: Sql, index_texts: Callable[[], int]) -> None:
    chat.ask(chat.open(title="title"), "question")
    index_texts()
    sql.do("UPDATE chat_messages SET tokens_used = 1, status = status, content = content")
    sql.do("UPDATE chat_sessions SET updated_at = now(), title = title")
    assert sql.value("SELECT count(*) FROM search_pending") == 0


def test_changed_title_replaces_the_old_one(chat: Chat, sql: Sql, index_texts: Callable[[], int]) -> None:
    chat.open(title="apple")
    index_texts()
    sql.do("UPDATE chat_sessions SET title = 'orange'")
    sql.do("UPDATE chat_sessions SET title = 'banana'")
    assert search(chat, "banana")
    assert search(chat, "apple") == search(chat, "orange") == []
    assert sql.value("SELECT count(*) FROM search_documents") == 1
    assert sql.value("SELECT count(*) FROM search_pending") == 0


def test_deleted_session_leaves_nothing_in_the_index(chat: Chat, sql: Sql, index_texts: Callable[[], int]) -> None:
    indexed, queued = chat.open(title="canary"), chat.open(title="canary")
    chat.ask(indexed, "canary")
    index_texts()
    chat.ask(queued, "canary")
    for session in (indexed, queued):
        assert chat.request("DELETE", f"/sessions/{session}").status_code == 200
    assert search(chat, "canary") == []
    index_texts()
    left = sql.everything()
    assert left["search_documents"] == left["search_pending"] == ""
    assert "canary" not in "".join(rows for table, rows in left.items() if table.startswith("search"))


def test_deleted_message_is_removed_from_the_index(chat: Chat, sql: Sql, index_texts: Callable[[], int]) -> None:
    fill(sql, chat, ["canary", "other"])
    index_texts()
    sql.do("DELETE FROM chat_messages WHERE content = 'canary'")
    assert "canary" not in sql.everything()["search_documents"]
    assert search(chat, "canary") == []


def test_archived_sessions_are_found_and_marked(chat: Chat, sql: Sql) -> None:
    fill(sql, chat, ["needle"])
    sql.do("UPDATE chat_sessions SET is_active = false")
    (hit,) = search(chat, "needle")
    assert hit["is_archived"]


def test_texts_from_before_the_index_are_indexed(chat: Chat, sql: Sql, index_texts: Callable[[], int]) -> None:
    fill(sql, chat, [f"needle {number}" for number in range(30)])
    sql.do("DELETE FROM search_pending")
    sql.do(
        "INSERT INTO search_backfill (id, after_id, last_id)"
        " VALUES (1, 0, (SELECT max(id) FROM chat_messages)), (2, 0, (SELECT max(id) FROM chat_sessions))"
    )
    assert search(chat, "needle") == []
    assert index_texts() == 31
    assert len(search(chat, "needle")) == 30
    assert sql.value("SELECT bool_and(after_id = last_id) FROM search_backfill")
    assert index_texts() == 0


def test_text_that_postgresql_refuses_does_not_block_the_others(
    chat: Chat, sql: Sql, index_texts: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sql, chat, ["poison", "needle"])
    render = documents.DocumentTerms.render

    def broken(terms: documents.DocumentTerms, prefix: str) -> str:
        return "'" if "poison" in terms.words else render(terms, prefix)

    monkeypatch.setattr(documents.DocumentTerms, "render", broken)
    assert index_texts() == 3
    assert sql.value("SELECT count(*) FROM search_pending") == 0
    assert len(search(chat, "needle")) == 1


@pytest.mark.parametrize(
    "query", ["CAFÉ", "cafe\u0301", "STRASSE", "straße", "ΟΔΟΣ", "οδοσ", "ｆｕｌｌ", "FULL", "\U0001fa77"]
)
def test_every_spelling_is_found_in_titles_and_messages(chat: Chat, query: str) -> None:
    text = "café Straße οδος full \U0001fa77"
    session = chat.open(title=text)
    other = chat.open(title="other")
    chat.ask(other, text)
    assert {hit["session_id"] for hit in search(chat, query)} == {session, other}
    listed = chat.request("GET", "/sessions", params={"search": query}).json()["sessions"]
    assert {entry["session_id"] for entry in listed} == {session, other}


def test_a_character_that_is_newer_than_the_unicode_tables_is_a_message(chat: Chat) -> None:
    session = chat.open(title="\U0001fa77")
    chat.ask(session, "\U0001fa77")
    for blank in ("\u200b", "\u2060 \n", "\u202e\x1f"):
        response = chat.request("POST", f"/sessions/{session}/messages", json={"message": blank})
        assert_problem(response, 422, "validation_error")
