"""What other operations do to the search index: deletion of messages, imports, copies, and changes of titles."""

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from app import main
from app.config import Settings
from tests.chat.search.helpers import search
from tests.chat.sharing.links import share
from tests.chat.transfer.files import message, native, session
from tests.chat.transfer.test_imports import imported
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat
from tests.support.provider import Provider, answers
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def titling_service(settings: Settings) -> Iterator[TestClient]:
    """A service whose model writes titles."""
    with TestClient(main.create(settings.model_copy(update={"LLM_TITLE_ENABLED": True}))) as client:
        yield client


def message_ids(hits: list[dict[str, object]]) -> set[object]:
    return {hit["message_id"] for hit in hits}


def assert_no_trace(sql: Sql, word: str) -> None:
    """Check that no table of the search has the word, and that no text is queued."""
    left = {table: rows for table, rows in sql.everything().items() if table.startswith("search_")}
    assert left["search_pending"] == ""
    assert word not in "".join(left.values())


@pytest.mark.parametrize("is_indexed", [True, False])
def test_deleted_message_is_not_found_and_leaves_nothing_in_the_index(
    chat: Chat, sql: Sql, provider: Provider, index_texts: Callable[[], int], *, is_indexed: bool
) -> None:
    provider.always(answers("canary answer"))
    opened = chat.open(title="Title")
    first = chat.ask(opened, "first")
    edited = chat.ask(opened, "canary question", parent_id=first["ai_response"]["id"])
    chat.ask(opened, "canary follows")
    provider.always(answers("other answer"))
    chat.ask(opened, "other question", parent_id=first["ai_response"]["id"])
    if is_indexed:
        index_texts()
    path = f"/sessions/{opened}/messages"
    assert chat.request("DELETE", f"{path}/{edited['user_message']['id']}").json()["deleted"] == 4
    assert message_ids(search(chat, "canary")) == {first["ai_response"]["id"]}
    assert len(search(chat, "other")) == 2
    assert chat.request("DELETE", f"{path}/{first['ai_response']['id']}").is_success
    assert search(chat, "canary") == search(chat, "other") == []
    assert chat.request("GET", "/sessions", params={"search": "canary"}).json()["sessions"] == []
    index_texts()
    assert_no_trace(sql, "canary")
    assert len(search(chat, "first")) == 1


def test_deleted_sessions_leave_nothing_in_the_index(chat: Chat, sql: Sql, index_texts: Callable[[], int]) -> None:
    for _ in range(3):
        chat.ask(chat.open(title="canary"), "canary")
    index_texts()
    assert chat.request("POST", "/sessions/delete", json={"all": True}).json()["changed"] == 3
    assert search(chat, "canary") == []
    index_texts()
    assert_no_trace(sql, "canary")


def test_all_branches_are_found(chat: Chat, provider: Provider) -> None:
    provider.script(answers("needle one"), answers("needle two"))
    opened = chat.open()
    first = chat.ask(opened, "Hi")
    again = f"/sessions/{opened}/messages/{first['ai_response']['id']}/regenerate"
    second = chat.request("POST", again, json={}).json()
    assert message_ids(search(chat, "needle")) == {first["ai_response"]["id"], second["ai_response"]["id"]}


def test_imported_session_is_found(chat: Chat, index_texts: Callable[[], int]) -> None:
    messages = [message(1, None, content="needle question"), message(2, 1), message(4, 1, content="needle answer")]
    imported(chat, native(session(*messages, title="needle title")))
    assert len(search(chat, "needle")) == 3
    assert index_texts() == 0


def test_copies_are_found_as_their_originals(chat: Chat, others_chat: Chat) -> None:
    opened = chat.open(title="needle title")
    chat.ask(opened, "needle question")
    assert chat.request("POST", f"/sessions/{opened}/duplicate", json={}).is_success
    assert sorted(hit["kind"] for hit in search(chat, "needle")) == ["message", "message", "title", "title"]
    token = share(chat, opened)["token"]
    assert search(others_chat, "needle") == []
    assert others_chat.request("POST", f"/shared/{token}/clone", json={}).is_success
    assert sorted(hit["kind"] for hit in search(others_chat, "needle")) == ["message", "title"]
    assert chat.request("DELETE", f"/sessions/{opened}").is_success
    assert sorted(hit["kind"] for hit in search(others_chat, "needle")) == ["message", "title"]


def test_session_is_found_by_its_new_title_only(chat: Chat, sql: Sql, index_texts: Callable[[], int]) -> None:
    opened = chat.open(title="canary")
    index_texts()
    assert chat.request("PATCH", f"/sessions/{opened}", json={"title": "needle"}).is_success
    assert [hit["session_id"] for hit in search(chat, "needle")] == [opened]
    assert search(chat, "canary") == []
    assert_no_trace(sql, "canary")


def test_session_is_found_by_the_title_of_the_model(
    chat: Chat, titling_service: TestClient, provider: Provider
) -> None:
    provider.always(answers("Needle"))
    titled = Chat(titling_service, chat.user)
    opened = titled.open()
    titled.ask(opened, "question")
    wait_until(lambda: titled.request("GET", f"/sessions/{opened}").json()["title_source"] == "model")
    assert [hit["session_id"] for hit in search(titled, "needle", **{"in": "titles"})] == [opened]
    assert search(titled, "question", **{"in": "titles"}) == []


def test_list_combines_the_search_with_filters_and_cursor(chat: Chat) -> None:
    opened = [chat.open(title=f"needle {number}") for number in range(4)]
    chat.open(title="other")
    assert chat.request("PATCH", f"/sessions/{opened[0]}", json={"is_archived": True}).is_success
    query = {"search": "needle", "size": 2, "sort": "created"}
    page = chat.request("GET", "/sessions", params=query).json()
    following = chat.request("GET", "/sessions", params=query | {"cursor": page["next_cursor"]}).json()
    listed = [item["session_id"] for item in page["sessions"] + following["sessions"]]
    assert (listed, following["next_cursor"]) == (opened[:0:-1], None)
    assert page["pagination"]["total"] == 3
    archived = chat.request("GET", "/sessions", params={"search": "needle", "archived": "true"}).json()
    assert [item["session_id"] for item in archived["sessions"]] == opened[:1]
    other = chat.request("GET", "/sessions", params={"search": "title", "cursor": page["next_cursor"]})
    assert other.status_code == 422
