"""Exports over HTTP."""

import asyncio
import json
import re
from asyncio import to_thread
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import pytest
from pydantic import TypeAdapter

from app.chat.transfer import session_reader
from app.chat.transfer.export import ExportedFile, ExportService
from app.chat.transfer.filenames import content_disposition
from app.chat.transfer.formats.conversation_file import ConversationFile
from app.chat.transfer.session_reader import SessionReader
from app.core.exceptions import AppError, NotFoundError, UnauthorizedError
from app.database.connection import Database
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.transfer import conversations
from app.services import login_check
from tests.chat.transfer.files import message, native, session
from tests.chat.transfer.test_imports import exported, imported
from tests.fixtures.database import Sql, counted_statements, locked
from tests.fixtures.services import Chat, User, assert_problem
from tests.support.provider import Provider, echoes

DELETIONS = [
    ("md", 2, ["text 1", "text 4"]),
    ("txt", 2, ["text 1", "text 4"]),
    ("json", 2, ["text 1", "text 4"]),
    ("md", 1, []),
    ("json", 1, []),
]
"""Formats, the `seq` of a message that is deleted, and what is left on the active branch."""


def opened(chat: Chat, *messages: object, **fields: object) -> str:
    """Import a session and return its id."""
    return str(imported(chat, native(session(*messages, **fields)))["report"]["sessions"][0]["session_id"])


def test_a_conversation_is_exported_in_the_documented_format(chat: Chat, provider: Provider) -> None:
    provider.always(echoes())
    session_id = chat.open(title="Trip", context={"tone": "casual"})
    chat.ask(session_id, "Hi", context={"language": "de"})
    content = exported(chat, f"/sessions/{session_id}/export")
    (read,) = TypeAdapter(ConversationFile).validate_python(content).sessions
    assert (read.title, read.context, read.active_message) == ("Trip", {"tone": "casual"}, None)
    question, answer = read.messages
    assert (question.id, question.parent, question.content, question.context) == (1, None, "Hi", {"language": "de"})
    assert (answer.id, answer.parent, answer.status, answer.model) == (2, 1, "complete", "gpt-primary")
    assert "cost" not in json.dumps(content)


def test_numbers_have_no_gaps_after_a_deletion(chat: Chat, sql: Sql) -> None:
    session_id = opened(chat, message(1, None), message(2, 1), message(3, None), message(4, 3), active_message=4)
    sql.do("DELETE FROM chat_messages WHERE seq = 1")
    (read,) = exported(chat, f"/sessions/{session_id}/export")["sessions"]
    assert [(m["id"], m["parent"], m["content"]) for m in read["messages"]] == [(1, None, "text 3"), (2, 1, "text 4")]
    assert read["active_message"] == 2


def test_an_answer_under_way_is_exported_as_interrupted(chat: Chat, sql: Sql) -> None:
    session_id = opened(chat, message(1, None), message(2, 1, content=""))
    sql.do("UPDATE chat_messages SET status = 'pending', lease_expires_at = now() WHERE seq = 2")
    (read,) = exported(chat, f"/sessions/{session_id}/export")["sessions"]
    assert read["messages"][1]["status"] == "interrupted"


@pytest.mark.parametrize(("batch", "size"), [(1, 1000), (2, 1000), (3, 1000), (100, 1000), (100, 0), (100, 6), (3, 13)])
def test_batches_do_not_change_an_export(chat: Chat, monkeypatch: pytest.MonkeyPatch, batch: int, size: int) -> None:
    long = [message(n, n - 1 if n > 1 else None) for n in range(1, 8)]
    for number in range(4):
        opened(chat, *long[: 2 * number], message(9, None), message(10, 9), title=f"Number {number}", active_message=9)
    paths = [f"/export?format={name}" for name in ("json", "md", "txt")]
    whole = [chat.request("GET", path).text.partition('"sessions"')[2] for path in paths]
    for module in (session_reader, conversations):
        monkeypatch.setattr(module, "BATCH_SIZE", batch)
        monkeypatch.setattr(module, "BATCH_BYTES", size)
    monkeypatch.setattr(conversations, "_PATH_BATCH", batch)
    monkeypatch.setattr(session_reader, "_SESSIONS_PER_BATCH", batch)
    assert [chat.request("GET", path).text.partition('"sessions"')[2] for path in paths] == whole


@pytest.mark.parametrize("only_active_branch", [True, False])
async def test_texts_in_memory_are_limited(
    chat: Chat, pool: Database, sql: Sql, monkeypatch: pytest.MonkeyPatch, *, only_active_branch: bool
) -> None:
    for number, count in enumerate((7, 0, 1, 1, 1)):  # texts of 10 bytes each
        messages = [message(n, n - 1 or None, content=f"{number}{n}xxx日ä") for n in range(1, count + 1)]
        opened(chat, *messages, title=str(number))
    for module in (session_reader, conversations):
        monkeypatch.setattr(module, "BATCH_BYTES", 25)
    user_id = sql.value("SELECT id FROM users WHERE uuid = %s", [chat.user.id])
    read, batches = conversations.read_all_messages, []

    async def read_all(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as the repository
        batches.append(found := await read(*arguments, **named))
        return found

    monkeypatch.setattr(conversations, "read_all_messages", read_all)
    async with pool.autocommit() as connection:
        ids = await conversations.list_session_ids(connection, user_id=user_id)
    reader = SessionReader(pool, user_id, NoLogin(), only_active_branch=only_active_branch)  # type: ignore[arg-type]
    sizes = [[len(batch) async for batch in readable.batches] async for readable in reader.read_all(ids)]
    assert sizes == [[2, 2, 2, 1], [], [1], [1], [1]]
    assert [len(batch) for batch in batches] == [2, 1]


class NoLogin:
    """Login that is always valid."""

    async def check(self) -> None:
        pass

    check_if_due = check


def test_markdown_has_the_active_branch(chat: Chat) -> None:
    session_id = opened(
        chat,
        message(1, None, content="  **Where**?\n"),
        message(2, 1, content="Rome", model="small"),
        message(4, 1, content="Other", status="cancelled"),
        title="Trip to <Rome> #1",
        active_message=2,
    )
    response = chat.request("GET", f"/sessions/{session_id}/export?format=md")
    assert response.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert response.text == (
        "# Trip to \\<Rome\\> \\#1\n\n*2026-01-02 03:04 UTC - 2026-01-02 03:04 UTC*\n"
        "\n## User\n\n*2026-01-02 03:04 UTC*\n\n**Where**?\n"
        "\n## Assistant (small)\n\n*2026-01-02 03:04 UTC*\n\nRome\n"
    )


def test_text_has_the_active_branch(chat: Chat) -> None:
    session_id = opened(chat, message(1, None), message(2, 1, content="Ro", status="cancelled"))
    response = chat.request("GET", f"/sessions/{session_id}/export?format=txt")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.text == (
        "Trip\n====\n2026-01-02 03:04 UTC - 2026-01-02 03:04 UTC\n"
        "\n[2026-01-02 03:04 UTC] User:\ntext 1\n"
        "\n[2026-01-02 03:04 UTC] Assistant (cancelled):\nRo\n"
    )


@pytest.mark.parametrize("path", ["/export", "/sessions/{}/export"])
@pytest.mark.parametrize(("name", "deleted", "contents"), DELETIONS)
def test_messages_are_deleted_during_an_export(
    chat: Chat, sql: Sql, monkeypatch: pytest.MonkeyPatch, path: str, name: str, deleted: int, contents: list[str]
) -> None:
    session_id = opened(chat, message(1, None), message(2, 1), message(4, 1), active_message=2)
    message_uuid = sql.value("SELECT uuid FROM chat_messages WHERE seq = %s", [deleted])

    def deleting(read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def delete_then_read(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - passed on
            if sql.value("SELECT count(*) FROM chat_messages WHERE uuid = %s", [message_uuid]):
                response = await to_thread(chat.request, "DELETE", f"/sessions/{session_id}/messages/{message_uuid}")
                assert response.is_success
            return await read(*arguments, **named)

        return delete_then_read

    for reader in ("read_all_messages", "find_last_of_branch", "read_messages"):
        monkeypatch.setattr(conversations, reader, deleting(getattr(conversations, reader)))
    text = chat.request("GET", path.format(session_id), params={"format": name}).text
    assert "Trip" in text
    assert re.findall("text [0-9]", text) == contents


@pytest.mark.parametrize("name", ["json", "md", "txt"])
def test_an_account_without_sessions_has_an_empty_export(chat: Chat, name: str) -> None:
    response = chat.request("GET", f"/export?format={name}")
    assert response.status_code == 200
    assert response.text == "" if name != "json" else response.json()["sessions"] == []
    assert response.headers["Content-Disposition"] == f'attachment; filename="conversations.{name}"'


def test_sessions_of_others_are_not_exported(chat: Chat, others_chat: Chat) -> None:
    session_id = opened(chat, message(1, None))
    assert_problem(others_chat.request("GET", f"/sessions/{session_id}/export"), 404, "not_found")
    assert_problem(chat.request("GET", f"/sessions/{uuid4()}/export"), 404, "not_found")
    assert exported(others_chat)["sessions"] == []
    assert_problem(chat.request("GET", f"/sessions/{session_id}/export?format=pdf"), 422, "validation_error")


def test_many_short_sessions_take_few_statements(chat: Chat) -> None:
    imported(chat, native(*(session(message(1, None, content=str(n))) for n in range(99))))
    with counted_statements() as statements:
        assert len(exported(chat)["sessions"]) == 99
    assert len(statements) <= 6


@pytest.fixture
async def chunks(pool: Database, chat: Chat, ada: User, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> ExportedFile:
    """An export of a session with 250 messages, whose login is checked before each batch."""
    monkeypatch.setattr(login_check, "_INTERVAL", 0.0)
    session_id = opened(chat, *(message(n, n - 1 if n > 1 else None) for n in range(1, 251)))
    (login,) = sql.rows("SELECT uuid, user_id FROM auth_sessions")
    principal = Principal(
        id=login["user_id"], uuid=UUID(ada.id), role="user", is_verified=False, session_uuid=login["uuid"]
    )
    return await ExportService(pool).export_session(principal, UUID(session_id), "json")


async def rest(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def test_no_connection_is_held_while_the_client_reads(chunks: ExportedFile, pool: Database) -> None:
    content = b""
    count = 0
    async for chunk in chunks.chunks:
        assert pool.pool_stats()["in_use"] == 0
        content += chunk
        count += 1
    assert count > 4
    assert len(json.loads(content)["sessions"][0]["messages"]) == 250


async def test_an_export_waits_while_the_database_is_overloaded(
    chunks: ExportedFile, sql: Sql, database_url: str
) -> None:
    content = b"".join([await anext(chunks.chunks) for _ in range(3)])
    with locked(database_url, "chat_messages"):
        reading = asyncio.create_task(rest(chunks.chunks))
        await asyncio.to_thread(sql.wait_for_blocked)
        # Longer than a request waits for a lock.
        await asyncio.sleep(2)
    content += await reading
    assert len(json.loads(content)["sessions"][0]["messages"]) == 250


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("UPDATE auth_sessions SET revoked_at = now(), revoked_reason = 'test'", UnauthorizedError),
        ("DELETE FROM users", UnauthorizedError),
        ("DELETE FROM chat_sessions", NotFoundError),
    ],
)
async def test_an_export_is_cut_when_it_cannot_be_completed(
    chunks: ExportedFile, sql: Sql, change: str, error: type[AppError]
) -> None:
    content = b"".join([await anext(chunks.chunks) for _ in range(3)])
    sql.do(change)
    with pytest.raises(error):
        await rest(chunks.chunks)
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(content)


@pytest.mark.parametrize(
    ("title", "header"),
    [
        ("Trip to Rome", 'attachment; filename="Trip to Rome.json"'),
        ("Où est-ce ?", "attachment; filename=\"Ou est-ce.json\"; filename*=UTF-8''O%C3%B9%20est-ce.json"),
        ("旅行", "attachment; filename=\"conversation.json\"; filename*=UTF-8''%E6%97%85%E8%A1%8C.json"),
        ("../../etc/passwd", 'attachment; filename="etc passwd.json"'),
        ('a"; filename="b.exe', 'attachment; filename="a filename= b.exe.json"'),
        ("exe.\u202etxt\r\nSet-Cookie: a", 'attachment; filename="exe. txt Set-Cookie a.json"'),
        ("...", 'attachment; filename="conversation.json"'),
        ("CON", 'attachment; filename="conversation.json"'),
        ("100%", 'attachment; filename="100.json"'),
    ],
)
def test_files_are_named_after_the_title(title: str, header: str) -> None:
    assert content_disposition(title, "json") == header


def test_names_in_any_script_fit_into_file_systems() -> None:
    header = content_disposition("旅" * 200, "json")
    assert header.isascii()
    assert len(unquote(header.rpartition("''")[2]).encode()) <= 255


def test_exports_of_an_account_at_the_same_time_are_limited(chat: Chat, chat_client: Any) -> None:  # noqa: ANN401 - of the fixture
    services = chat_client.app_state["chat"]
    user_id = 1
    with services.transfer.user_limiter.slot(user_id), services.transfer.user_limiter.slot(user_id):
        assert_problem(chat.request("GET", "/export"), 429, "too_many_transfers")
        assert_problem(chat.request("POST", "/import", content=b"[]"), 429, "too_many_transfers")
        problem = chat.request("POST", f"/sessions/{uuid4()}/duplicate", json={})
        assert_problem(problem, 429, "too_many_transfers")
    assert chat.request("GET", "/export").status_code == 200
