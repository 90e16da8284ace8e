"""Order and pages of search results."""

from collections.abc import Callable
from typing import Any

import pytest

from app.chat.search import service
from app.services.search import documents, indexer
from tests.chat.search.helpers import fill, search, texts
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, assert_problem


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


def test_typing_errors_in_several_words_are_corrected(chat: Chat, sql: Sql) -> None:
    fill(sql, chat, ["The weather report of Hamburg", "The whether report of Hamburg", "A report of Bremen"])
    hits = search(chat, "wether repot hamburg")
    assert sorted(texts(hits)) == ["The weather report of Hamburg", "The whether report of Hamburg"]
    assert all(hit["is_corrected"] for hit in hits)
    for hit in hits:
        assert [piece["text"] for piece in hit["snippet"] if piece["is_match"]][1:] == ["report", "Hamburg"]
    assert search(chat, "wether repot london") == []
    fill(sql, chat, ["The wether repot of Hamburg"])
    assert [hit["is_corrected"] for hit in search(chat, "wether repot")] == [False, True, True]
    assert len({hit["message_id"] for hit in search(chat, "wether repot")}) == 3


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_pages_of_corrected_matches_neither_skip_nor_repeat(
    chat: Chat, sql: Sql, index_texts: Callable[[], int], monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    for module in (documents, indexer, service):
        monkeypatch.setattr(module, "CHUNK_SIZE", 4)
    for _ in range(5):
        fill(sql, chat, ["weather report", "weather", "report", "whether report"])
    index_texts()
    found = search(chat, "wether repot", limit=limit)
    assert len({hit["message_id"] for hit in found}) == len(found) == 10


def _with_texts(hits: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    return hits, texts(hits)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_pages_neither_skip_nor_repeat_matches(
    chat: Chat, sql: Sql, index_texts: Callable[[], int], monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(documents, "CHUNK_SIZE", 5)
    monkeypatch.setattr(indexer, "CHUNK_SIZE", 5)
    monkeypatch.setattr(service, "CHUNK_SIZE", 5)
    for _ in range(4):
        fill(sql, chat, [f"needle {number}" for number in range(5)] + ["noodle"])
    assert index_texts() == 28
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
        fill(sql, chat, [f"needle {number}"], age=f"{number * 10} days")
        search(chat, "needle")  # indexes title and message
    # The message n is document 2 n + 1. Within a chunk the newer text, which has the lower number, comes first.
    assert texts(search(chat, "needle")) == [f"needle {number}" for number in (4, 5, 3, 1, 2, 0)]


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
