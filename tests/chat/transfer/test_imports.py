"""Imports over HTTP, and what they store."""

import json
from datetime import datetime
from typing import Any, get_args
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.database.models.chat.chat_session import TitleSource
from tests.chat.transfer.files import TIME, conversation, message, native, node, session
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, echoes


def upload(chat: Chat, content: object, **options: Any) -> Any:  # noqa: ANN401 - a response
    """Import a file: bytes as they are, anything else as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return chat.request("POST", "/import", content=body, **options)


def imported(chat: Chat, content: object) -> dict[str, Any]:
    response = upload(chat, content)
    assert response.status_code == 201, response.text
    result: dict[str, Any] = response.json()
    assert result["status"] == "complete"
    return result


def exported(chat: Chat, path: str = "/export") -> Any:  # noqa: ANN401 - any JSON
    response = chat.request("GET", path)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_file_is_imported_with_its_branches_and_times(chat: Chat) -> None:
    messages = [message(1, None), message(2, 1, model="small"), message(4, 1), message(5, 2, content="And then?")]
    result = imported(chat, native(session(*messages, active_message=4)))
    (item,) = result["report"]["sessions"]
    assert (item["place"], item["outcome"]) == ("sessions[0]", "imported")
    assert (result["sessions_total"], result["sessions_done"], result["format"]) == (1, 1, "conversations")
    assert (result["report"]["imported_sessions"], result["report"]["imported_messages"]) == (1, 4)
    stored = chat.request("GET", f"/sessions/{item['session_id']}").json()
    assert (stored["title"], stored["message_count"]) == ("Trip", 4)
    assert datetime.fromisoformat(stored["created_at"]) == datetime.fromisoformat(TIME)
    assert datetime.fromisoformat(stored["updated_at"]) == datetime.fromisoformat(TIME)
    assert [m["content"] for m in stored["messages"]] == ["text 1", "text 4"]
    assert datetime.fromisoformat(stored["messages"][1]["timestamp"]) == datetime.fromisoformat(TIME)
    (listed,) = chat.request("GET", "/sessions").json()["sessions"]
    assert listed["last_message_preview"] == "text 4"


def test_an_imported_conversation_goes_on(chat: Chat, provider: Provider) -> None:
    provider.always(echoes())
    result = imported(chat, native(session(message(1, None), message(2, 1))))
    session_id = result["report"]["sessions"][0]["session_id"]
    answer = chat.request("POST", f"/sessions/{session_id}/messages", json={"message": "Again"}).json()
    assert "text 1" in answer["ai_response"]["content"]
    assert answer["session_updated"]["message_count"] == 4


def test_chatgpt_conversations_are_imported(chat: Chat) -> None:
    mapping = {
        "root": node(None),
        "system": node("root", "system", "You are"),
        "q": node("system", "user", "Hi"),
        "a": node("q", "assistant", "Hello"),
    }
    result = imported(chat, [conversation(mapping, current_node="a"), conversation({"a": node("gone", "user", "x")})])
    assert result["format"] == "chatgpt"
    assert result["report"]["left_out"] == [
        {"place": "[0].mapping[1]", "reason": "system_message"},
        {"place": "[1].mapping[0]", "reason": "missing_parent"},
    ]
    assert (result["report"]["left_out_sessions"], result["report"]["left_out_parts"]) == (1, 1)
    (listed,) = chat.request("GET", "/sessions").json()["sessions"]
    assert (listed["title"], listed["message_count"], listed["last_message_preview"]) == ("Trip", 2, "Hello")


def test_a_chatgpt_conversation_survives_export_and_import(chat: Chat, sql: Sql) -> None:
    mapping = {
        "q": node(None, "user", "Hi", create_time=1_700_000_001.25),
        "a": node("q", "assistant", "Hello", create_time=1_700_000_002, metadata={"model_slug": "gpt-4o"}),
        "b": node("q", "assistant", "Good day"),
        "q2": node("a", "user", "And?"),
    }
    imported(chat, [conversation(mapping, current_node="b", is_archived=True)])
    first = exported(chat)["sessions"]
    assert len(first[0]["messages"]) == 4
    sql.do("DELETE FROM chat_sessions")
    imported(chat, native(*first))
    assert exported(chat)["sessions"] == first


def test_chatgpt_conversations_without_a_usable_message_are_left_out(chat: Chat) -> None:
    mappings = [{}, {"root": node(None)}, {"a": node(None, "system", "You are")}, {"a": node(None, "assistant", "Hi")}]
    result = imported(chat, [conversation(mapping) for mapping in mappings])
    assert result["report"]["left_out"] == [{"place": f"[{index}]", "reason": "empty"} for index in range(4)]
    assert (result["report"]["left_out_sessions"], result["sessions_done"]) == (4, 4)
    assert chat.request("GET", "/sessions").json()["sessions"] == []


def test_a_form_with_the_file_is_accepted(chat: Chat) -> None:
    files = {"file": ("conversations.json", json.dumps(native(session())).encode(), "application/json")}
    response = chat.request("POST", "/import", files=files, data={"other": "field"})
    assert response.status_code == 201, response.text
    assert response.json()["report"]["imported_sessions"] == 1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"no form", "multipart/form-data; boundary=x"),
        (b"{}", "multipart/form-data"),
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n[]\r\n--x--\r\n', "multipart/form-data; boundary=x"),
        (
            b"--x\r\n\r\n\r\n" * 100 + b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n[]\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_other_forms_are_refused(chat: Chat, body: bytes, content_type: str, caplog: pytest.LogCaptureFixture) -> None:
    response = chat.request("POST", "/import", content=body, headers={"Content-Type": content_type})
    assert_problem(response, 400, "invalid_form")
    assert not [record for record in caplog.records if record.name.startswith("python_multipart")]


def test_the_same_conversation_is_not_stored_twice(chat: Chat, sql: Sql) -> None:
    content = native(session(message(1, None)), session(message(1, None, content="other")))
    first = imported(chat, content)["report"]["sessions"]
    second = imported(chat, content)
    assert [item["session_id"] for item in second["report"]["sessions"]] == [item["session_id"] for item in first]
    assert {item["outcome"] for item in second["report"]["sessions"]} == {"already_imported"}
    assert second["report"]["already_imported_sessions"] == 2
    assert sql.value("SELECT count(*) FROM chat_sessions") == 2


def test_a_conversation_twice_in_a_file_is_stored_once(chat: Chat, sql: Sql) -> None:
    report = imported(chat, native(session(message(1, None)), session(message(1, None))))["report"]
    assert [item["outcome"] for item in report["sessions"]] == ["imported", "already_imported"]
    assert sql.value("SELECT count(*) FROM chat_sessions") == 1


def test_a_deleted_session_can_be_imported_again(chat: Chat) -> None:
    content = native(session(message(1, None)))
    (item,) = imported(chat, content)["report"]["sessions"]
    assert chat.request("DELETE", f"/sessions/{item['session_id']}").status_code == 200
    (again,) = imported(chat, content)["report"]["sessions"]
    assert again["outcome"] == "imported"


def test_two_accounts_import_the_same_conversation(chat: Chat, others_chat: Chat) -> None:
    content = native(session(message(1, None)))
    (adas,) = imported(chat, content)["report"]["sessions"]
    (bobs,) = imported(others_chat, content)["report"]["sessions"]
    assert (adas["outcome"], bobs["outcome"]) == ("imported", "imported")
    assert adas["session_id"] != bobs["session_id"]
    assert others_chat.request("GET", f"/sessions/{adas['session_id']}").status_code == 404


def test_a_refused_session_leaves_nothing_and_the_others_are_stored(chat: Chat, sql: Sql) -> None:
    broken = session(message(1, None), message(2, 7))
    report = imported(chat, native(session(), broken, session(message(1, None))))["report"]
    assert (report["imported_sessions"], report["left_out_sessions"]) == (2, 1)
    assert report["left_out"] == [{"place": "sessions[1].messages[1]", "reason": "cycle"}]
    assert sql.value("SELECT count(*) FROM chat_messages") == 1


def test_ten_thousand_versions_of_a_question_are_refused(chat: Chat, sql: Sql) -> None:
    report = imported(chat, native(session(*(message(2 * n + 1, None) for n in range(10_000)))))["report"]
    assert report["left_out"] == [{"place": "sessions[0]", "reason": "too_many_versions"}]
    assert sql.value("SELECT count(*) FROM chat_sessions") == 0


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"no json", 400, "invalid_json"),
        (json.dumps(native(session(message(1, None)))).encode()[:-1], 400, "invalid_json"),
        (json.dumps(native(session(message(1, None)))).encode() + b"{}", 400, "invalid_json"),
        ({"sessions": []}, 422, "import_format_unknown"),
        (native(version=7), 422, "import_version_unknown"),
        (native(session(), exported_at="yesterday"), 422, "import_format_invalid"),
        (native(session(), canary7f3a=1), 422, "import_format_invalid"),
        (b"[" * 5000 + b"]" * 5000, 422, "import_nested_too_deep"),
    ],
)
def test_other_files_import_nothing(chat: Chat, sql: Sql, content: object, status: int, code: str) -> None:
    response = upload(chat, content)
    assert_problem(response, status, code)
    assert "canary7f3a" not in response.text
    assert sql.value("SELECT count(*) FROM chat_sessions") == 0
    assert sql.value("SELECT count(*) FROM chat_imports") == 0


def test_too_large_files_are_refused(chat: Chat) -> None:
    assert_problem(upload(chat, b" " * (100 * 1024 * 1024 + 1)), 413, "content_too_large")


def test_other_requests_keep_their_smaller_limit(chat: Chat) -> None:
    assert_problem(chat.request("POST", "/sessions", content=b" " * 500_000), 413, "content_too_large")


def test_imports_of_others_are_not_found(chat: Chat, others_chat: Chat) -> None:
    result = imported(chat, native(session()))
    assert chat.request("GET", f"/imports/{result['import_id']}").json() == result
    assert_problem(others_chat.request("GET", f"/imports/{result['import_id']}"), 404, "not_found")
    assert_problem(chat.request("GET", f"/imports/{uuid4()}"), 404, "not_found")


def test_only_one_import_of_an_account_runs(chat: Chat, sql: Sql) -> None:
    running = uuid4()
    sql.do(
        "INSERT INTO chat_imports (uuid, user_id, format, status, session_count, lease_expires_at)"
        " SELECT %s, id, 'chatgpt', 'running', 9, now() + interval '1 minute' FROM users",
        [running],
    )
    problem = assert_problem(upload(chat, native()), 409, "import_running")
    assert problem["import_id"] == str(running)
    assert chat.request("GET", f"/imports/{running}").json()["status"] == "running"
    sql.do("UPDATE chat_imports SET lease_expires_at = now() - interval '1 second'")
    assert chat.request("GET", f"/imports/{running}").json()["status"] == "interrupted"
    imported(chat, native())
    assert sql.value("SELECT status FROM chat_imports WHERE uuid = %s", [running]) == "interrupted"


def test_nothing_is_counted_as_generated(chat: Chat, sql: Sql) -> None:
    imported(chat, native(session(message(1, None), message(2, 1))))
    assert sql.value("SELECT count(*) FROM llm_calls") == 0
    assert sql.value("SELECT count(*) FROM webhook_deliveries") == 0


def test_a_session_takes_few_statements(chat: Chat) -> None:
    def count(content: object) -> int:
        with counted_statements() as statements:
            imported(chat, content)
        return len(statements)

    few = count(native(session(message(1, None))))
    many = count(native(session(message(1, None, content="x"), *(message(n, n - 1) for n in range(2, 900)))))
    assert many == few


def test_the_import_holds_no_text_of_the_file(chat: Chat, sql: Sql) -> None:
    imported(chat, native(session(message(1, None, content="secret words")), session({"secret words": 1})))
    assert "secret" not in sql.value("SELECT chat_imports::text FROM chat_imports")


TEXTS = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=20).map("x{}".format)
TREES = st.lists(st.tuples(st.integers(0, 9), st.booleans(), TEXTS), max_size=12)
SETTINGS = st.fixed_dictionaries(
    {
        "title_source": st.sampled_from(get_args(TitleSource)),
        "is_archived": st.booleans(),
        "is_pinned": st.booleans(),
        "tags": st.lists(st.sampled_from(["travel", "über uns", "50 %", "中文", "'\"\\,{}"]), max_size=3, unique=True),
        "model": st.sampled_from([None, "small", "a model that is no longer allowed"]),
    }
)


def tree(steps: list[tuple[int, bool, str]]) -> list[dict[str, Any]]:
    """Return messages in a random tree, as an export has them."""
    messages: list[dict[str, Any]] = []
    for number, (back, is_question, text) in enumerate(steps, start=1):
        parent = messages[max(len(messages) - back, 0)] if messages and back else None
        fields: dict[str, Any] = {"role": "user", "status": "complete", "context": {"a": [back]} if back % 2 else None}
        if parent and parent["role"] == "user" and not is_question:
            fields = {"role": "assistant", "status": ("complete", "cancelled", "failed", "interrupted")[back % 4]}
            fields |= {"model": "small" if back % 3 else None, "error": "timeout" if back % 4 == 2 else None}
        messages.append(message(number, parent["id"] if parent else None, content=text, **fields))
    return messages


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.lists(st.tuples(TREES, st.integers(0, 5), SETTINGS), max_size=3))
def test_export_of_what_was_imported_is_identical(
    chat: Chat, sql: Sql, sessions: list[tuple[list[tuple[int, bool, str]], int, dict[str, Any]]]
) -> None:
    files = []
    for number, (steps, active, fields) in enumerate(sessions):
        files.append(
            {
                "title": f"Title {number}",
                "context": {"a": [1.5]},
                "created_at": TIME.replace("05.", f"{number:02}."),
                "updated_at": TIME,
                **fields,
                "messages": tree(steps),
                "active_message": active or None if active <= len(steps) else None,
            }
        )
    for _ in range(2):
        sql.do("DELETE FROM chat_sessions")
        imported(chat, native(*files))
        assert exported(chat)["sessions"] == files
