"""Duplicates and forks of sessions."""

from asyncio import to_thread
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.chat.transfer import copies
from app.chat.transfer.copies import copied_title
from app.database.repositories.transfer import session_copies
from tests.chat.transfer.files import message
from tests.chat.transfer.test_exports import opened
from tests.chat.transfer.test_imports import exported
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, echoes

BRANCHES = [message(1, None), message(2, 1), message(4, 1), message(5, 4), message(8, 5), message(9, 2)]


def duplicated(chat: Chat, session_id: str, **fields: object) -> dict[str, Any]:
    response = chat.request("POST", f"/sessions/{session_id}/duplicate", json=fields)
    assert response.status_code == 201, response.text
    return dict(response.json())


def conversation(chat: Chat, session_id: object) -> dict[str, Any]:
    """Return a session as it is exported, without its title and its times."""
    (content,) = exported(chat, f"/sessions/{session_id}/export")["sessions"]
    return {name: value for name, value in content.items() if name not in {"title", "created_at", "updated_at"}}


def message_id(sql: Sql, session_id: str, text: str) -> str:
    return str(
        sql.value(
            "SELECT m.uuid FROM chat_messages m JOIN chat_sessions s ON s.id = m.session_id"
            " WHERE s.uuid = %s AND m.content = %s",
            [session_id, text],
        )
    )


@pytest.mark.parametrize("batch", [1, 2, 2000])
def test_a_duplicate_has_all_branches(chat: Chat, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(session_copies, "_BATCH_SIZE", batch)
    session_id = opened(chat, *BRANCHES, active_message=8, context={"tone": "casual"})
    copy = duplicated(chat, session_id)
    assert copy["session_id"] != session_id
    assert (copy["title"], copy["message_count"], copy["context"]) == ("Trip (copy)", 6, {"tone": "casual"})
    assert conversation(chat, copy["session_id"]) == conversation(chat, session_id)
    (first, second) = chat.request("GET", "/sessions").json()["sessions"]
    assert (first["session_id"], first["last_message_preview"]) == (copy["session_id"], second["last_message_preview"])


def test_a_copy_has_the_tags_and_the_model_of_the_session_and_a_place_of_its_own(chat: Chat) -> None:
    marks = {"tags": ["travel"], "model": "a former model", "title_source": "model"}
    session_id = opened(chat, message(1, None), message(2, 1), **marks, is_pinned=True, is_archived=True)
    copy = chat.request("GET", f"/sessions/{duplicated(chat, session_id)['session_id']}").json()
    assert (copy["tags"], copy["model"]) == (["travel"], "a former model")
    assert (copy["title"], copy["title_source"]) == ("Trip (copy)", "user")
    assert (copy["is_pinned"], copy["is_archived"]) == (False, False)


def test_a_fork_ends_at_its_message(chat: Chat, sql: Sql) -> None:
    session_id = opened(chat, *BRANCHES)
    copy = duplicated(chat, session_id, message_id=message_id(sql, session_id, "text 5"), title="Fork")
    assert (copy["title"], copy["message_count"]) == ("Fork", 3)
    read = conversation(chat, copy["session_id"])
    assert [m["content"] for m in read["messages"]] == ["text 1", "text 4", "text 5"]
    assert [m["parent"] for m in read["messages"]] == [None, 1, 2]
    listed = chat.request("GET", "/sessions").json()["sessions"][0]
    assert listed["last_message_preview"] == "text 5"


def test_original_and_copy_go_on_on_their_own(chat: Chat, provider: Provider) -> None:
    provider.always(echoes())
    session_id = chat.open(title="Trip")
    chat.ask(session_id, "One")
    copy = duplicated(chat, session_id)
    answer = chat.ask(copy["session_id"], "Two")
    assert "One" in answer["ai_response"]["content"]
    assert answer["session_updated"]["message_count"] == 4
    assert "Two" not in chat.ask(session_id, "Three")["ai_response"]["content"]
    assert chat.request("DELETE", f"/sessions/{session_id}").status_code == 200
    assert len(conversation(chat, copy["session_id"])["messages"]) == 4


def test_an_empty_session_is_duplicated(chat: Chat) -> None:
    copy = duplicated(chat, chat.open(title="Trip"))
    assert (copy["title"], copy["message_count"]) == ("Trip (copy)", 0)


def test_a_session_whose_messages_were_deleted_is_duplicated(chat: Chat, sql: Sql, provider: Provider) -> None:
    provider.always(echoes())
    session_id = opened(chat, message(1, None), message(2, 1))
    assert chat.request("DELETE", f"/sessions/{session_id}/messages/{message_id(sql, session_id, 'text 1')}").is_success
    copy = duplicated(chat, session_id)
    assert copy["message_count"] == 0
    assert chat.ask(copy["session_id"], "Hi")["session_updated"]["message_count"] == 2


def test_an_answer_under_way_is_copied_as_interrupted(chat: Chat, sql: Sql) -> None:
    session_id = opened(chat, message(1, None), message(2, 1, content=""))
    sql.do("UPDATE chat_messages SET status = 'pending', lease_expires_at = now() + interval '1 hour' WHERE seq = 2")
    copy = duplicated(chat, session_id)
    assert [m["status"] for m in conversation(chat, copy["session_id"])["messages"]] == ["complete", "interrupted"]


def test_the_same_key_copies_once(chat: Chat, sql: Sql) -> None:
    session_id = opened(chat, message(1, None))
    path, headers = f"/sessions/{session_id}/duplicate", {"Idempotency-Key": "k"}
    first, second = (chat.request("POST", path, headers=headers, json={}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert second.headers["Idempotent-Replayed"] == "true"
    assert sql.value("SELECT count(*) FROM chat_sessions") == 2
    other = chat.request("POST", path, headers=headers, json={"title": "Other"})
    assert_problem(other, 422, "idempotency_key_reused")


def test_a_copy_is_announced_and_nothing_is_counted_as_generated(chat: Chat, sql: Sql) -> None:
    session_id = opened(chat, message(1, None), message(2, 1))
    sql.do("INSERT INTO webhook_endpoints (uuid, url, events) VALUES (gen_random_uuid(), 'https://example.com', '{*}')")
    copy = duplicated(chat, session_id)
    (event,) = sql.rows("SELECT type, data FROM webhook_deliveries")
    assert (event["type"], event["data"]["session_id"]) == ("session.created", copy["session_id"])
    assert sql.value("SELECT count(*) FROM llm_calls") == 0


def test_sessions_and_messages_of_others_cannot_be_copied(chat: Chat, others_chat: Chat, sql: Sql) -> None:
    session_id = opened(chat, message(1, None))
    other_id = opened(others_chat, message(1, None, content="Bob"))
    path = f"/sessions/{session_id}/duplicate"
    assert_problem(others_chat.request("POST", path, json={}), 404, "not_found")
    foreign = {"message_id": message_id(sql, other_id, "Bob")}
    assert_problem(chat.request("POST", path, json=foreign), 404, "not_found")
    assert_problem(chat.request("POST", path, json={"message_id": str(uuid4())}), 404, "not_found")
    assert_problem(chat.request("POST", path, json={"message_id": "x"}), 422, "validation_error")
    assert_problem(chat.request("POST", path, json={"unknown": 1}), 422, "validation_error")
    assert sql.value("SELECT count(*) FROM chat_sessions") == 2


def test_a_session_that_is_too_long_is_refused(chat: Chat, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MAX_MESSAGES", 1)
    session_id = opened(chat, message(1, None), message(2, 1))
    assert_problem(chat.request("POST", f"/sessions/{session_id}/duplicate", json={}), 422, "session_too_long")
    assert sql.value("SELECT count(*) FROM chat_sessions") == 1


def test_a_source_that_changes_is_a_conflict(chat: Chat, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = opened(chat, message(1, None), message(2, 1))
    keys = session_copies.list_all_keys

    async def list_then_delete(*arguments: Any) -> Any:  # noqa: ANN401 - passed on
        result = await keys(*arguments)
        sql.do("DELETE FROM chat_messages WHERE seq = 2")
        return result

    monkeypatch.setattr(session_copies, "list_all_keys", list_then_delete)
    assert_problem(chat.request("POST", f"/sessions/{session_id}/duplicate", json={}), 409, "session_changed")
    assert sql.value("SELECT count(*) FROM chat_sessions") == 1


def test_a_source_that_loses_all_messages_is_a_conflict(chat: Chat, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = opened(chat, message(1, None), message(2, 1), message(4, 1), active_message=2)
    first = message_id(sql, session_id, "text 1")
    keys = session_copies.list_all_keys

    async def delete_then_list(*arguments: Any) -> Any:  # noqa: ANN401 - passed on
        deleted = await to_thread(chat.request, "DELETE", f"/sessions/{session_id}/messages/{first}")
        assert deleted.is_success
        return await keys(*arguments)

    monkeypatch.setattr(session_copies, "list_all_keys", delete_then_list)
    assert_problem(chat.request("POST", f"/sessions/{session_id}/duplicate", json={}), 409, "session_changed")
    assert sql.value("SELECT count(*) FROM chat_sessions") == 1


def test_a_copy_takes_few_statements(chat: Chat) -> None:
    session_id = opened(chat, *(message(n, n - 1 if n > 1 else None) for n in range(1, 1001)))
    with counted_statements() as statements:
        duplicated(chat, session_id)
    assert len(statements) <= 12


@pytest.mark.parametrize(
    ("title", "copy"),
    [
        ("Trip", "Trip (copy)"),
        ("Trip (copy)", "Trip (copy 2)"),
        ("Trip (copy 9)", "Trip (copy 10)"),
        ("(copy)", "(copy) (copy)"),
        ("x" * 200, "x" * 193 + " (copy)"),
    ],
)
def test_titles_of_copies(title: str, copy: str) -> None:
    assert copied_title(title) == copy


def test_ids_of_copies_are_new(chat: Chat, sql: Sql) -> None:
    session_id = opened(chat, *BRANCHES)
    copy = duplicated(chat, session_id)
    assert sql.value("SELECT count(DISTINCT uuid) FROM chat_messages") == 12
    UUID(copy["session_id"])
