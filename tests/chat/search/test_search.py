"""Search in titles and messages."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.chat.search import service
from app.database.repositories.search import matches
from app.services.search import documents, indexer
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers, fails
from tests.support.waiting import wait_until


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


def test_better_matches_come_first(chat: Chat, sql: Sql) -> None:
    fill(sql, chat, ["planning", "marsupialplant", "plan"])
    chat.open(title="plan")
    assert texts(search(chat, "plan")) == ["plan", "plan", "planning", "marsupialplant"]
    assert search(chat, "plan")[0]["kind"] == "title"


def test_newer_matches_come_first(chat: Chat, sql: Sql) -> None:
    for age in (400, 3, 90, 30):
        fill(sql, chat, [f"needle {age}"], age=f"{age} days")
    assert texts(search(chat, "needle")) == ["needle 3", "needle 30", "needle 90", "needle 400"]


def test_new_match_of_a_longer_word_precedes_an_old_exact_one(chat: Chat, sql: Sql) -> None:
    fill(sql, chat, ["plan"], age="900 days")
    fill(sql, chat, ["plans"])
    assert texts(search(chat, "plan")) == ["plans", "plan"]


def test_spelling_variants_follow_if_there_are_few_matches(chat: Chat, sql: Sql) -> None:
    fill(sql, chat, ["system", "sistem"])
    assert [(hit["is_corrected"], text) for hit, text in zip(*_with_texts(search(chat, "sistem")), strict=True)] == [
        (False, "sistem"),
        (True, "system"),
    ]
    fill(sql, chat, [f"sistem {number}" for number in range(service.CORRECT_BELOW)])
    assert not any(hit["is_corrected"] for hit in search(chat, "sistem"))


def _with_texts(hits: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    return hits, texts(hits)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_pages_neither_skip_nor_repeat_matches(
    chat: Chat, sql: Sql, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(documents, "CHUNK_SIZE", 5)
    monkeypatch.setattr(indexer, "CHUNK_SIZE", 5)
    monkeypatch.setattr(service, "CHUNK_SIZE", 5)
    for _ in range(4):
        fill(sql, chat, [f"needle {number}" for number in range(5)] + ["noodle"])
    found = search(chat, "needle", limit=limit)
    assert len({hit["message_id"] for hit in found}) == len(found) == 20
    few = search(chat, "nodle", limit=limit)
    assert len(few) == 4
    assert all(hit["is_corrected"] for hit in few)


def test_documents_of_a_chunk_are_searched_before_older_ones(
    chat: Chat, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (documents, indexer, service):
        monkeypatch.setattr(module, "CHUNK_SIZE", 3)
    for number in range(6):
        fill(sql, chat, [f"needle {number}"])
        search(chat, "needle")  # indexes it
    prefixes = {
        row["prefix"] for row in sql.rows("SELECT split_part(terms::text, '/', 1) AS prefix FROM search_documents")
    }
    assert len(prefixes) > 2
    assert len(search(chat, "needle")) == 6


def test_matches_that_are_written_meanwhile_do_not_disturb_the_pages(chat: Chat, sql: Sql) -> None:
    fill(sql, chat, [f"needle {number}" for number in range(6)])
    page = chat.request("GET", "/search", params={"q": "needle", "limit": 3}).json()
    first = {hit["message_id"] for hit in page["hits"]}
    fill(sql, chat, ["needle new"])
    rest = search(chat, "needle", cursor=page["next_cursor"])
    assert len(first | {hit["message_id"] for hit in rest}) == 6
    assert len(rest) == 3


@pytest.mark.parametrize("change", ["q", "in", "user", "edit", "cut", "empty", "text"])
def test_cursor_of_another_search_or_user_or_an_edited_one_is_refused(
    chat: Chat, others_chat: Chat, sql: Sql, change: str
) -> None:
    fill(sql, chat, ["needle one", "needle two"])
    page = chat.request("GET", "/search", params={"q": "needle", "limit": 1}).json()
    cursor: str = page["next_cursor"]
    parameters = {"q": "needle", "in": "both", "cursor": cursor}
    person = chat
    match change:
        case "q":
            parameters["q"] = "other"
        case "in":
            parameters["in"] = "titles"
        case "user":
            person = others_chat
        case "edit":
            parameters["cursor"] = cursor[:30] + ("A" if cursor[30] != "A" else "B") + cursor[31:]
        case "cut":
            parameters["cursor"] = cursor[:-4]
        case "empty":
            parameters["cursor"] = ""
        case "text":
            parameters["cursor"] = "not a cursor"
    problem = assert_problem(person.request("GET", "/search", params=parameters), 422, "validation_error")
    assert problem["errors"][0]["field"] == "query.cursor"


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
