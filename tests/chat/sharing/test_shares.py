"""Shares of sessions: creation, replacement, revocation, limits, audit."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from app import main
from app.chat.sharing import service
from app.config import Settings
from app.database.connection import Database
from app.database.repositories.sharing import shares
from tests.chat.sharing.links import contents, read, share
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers, echoes, held

NOBODYS = "5f0c9d4e-2b1a-4c3d-8e7f-6a5b4c3d2e1f"


@pytest.fixture
def small_limits(settings: Settings) -> Iterator[TestClient]:
    with TestClient(main.create(settings.model_copy(update={"SHARES_PER_USER": 2}))) as client:
        yield client


@pytest.fixture
def without_sharing(settings: Settings) -> Iterator[TestClient]:
    with TestClient(main.create(settings.model_copy(update={"SHARING_ENABLED": False}))) as client:
        yield client


def test_owner_sees_the_link_again_and_the_database_does_not_hold_it(chat: Chat, session: str, sql: Sql) -> None:
    shared = share(chat, session, expires_in_days=30, title=" For you ")
    assert shared["title"] == "For you"
    assert shared["url"] == f"http://localhost:8080/shared#token={shared['token']}"
    assert chat.request("GET", f"/sessions/{session}/share").json() == shared
    assert chat.request("GET", "/shares").json()["shares"] == [shared]
    assert sql.value("SELECT expires_at - created_at = interval '30 days' FROM chat_shares")
    assert shared["token"] not in "".join(sql.everything().values())


def test_second_share_replaces_the_link(chat: Chat, session: str) -> None:
    first = share(chat, session)
    chat.ask(session, "And then?")
    second = share(chat, session)
    assert second["id"] != first["id"]
    assert_problem(read(chat.client, first["token"]), 404, "not_found")
    assert len(contents(chat.client, second["token"])) == 4
    assert chat.request("GET", "/shares").json()["pagination"]["total"] == 1


def test_kept_link_shows_the_new_snapshot(chat: Chat, session: str, sql: Sql) -> None:
    first = share(chat, session, expires_in_days=1)
    chat.ask(session, "And then?")
    second = share(chat, session, keep_link=True)
    assert (second["token"], second["message_count"], second["expires_at"]) == (first["token"], 4, None)
    assert second["created_at"] > first["created_at"]
    assert len(contents(chat.client, first["token"])) == 4
    sql.do("UPDATE chat_shares SET expires_at = now()")
    assert share(chat, session, keep_link=True)["token"] != first["token"]


def test_branch_can_end_at_a_message(chat: Chat, session: str) -> None:
    messages = chat.request("GET", f"/sessions/{session}").json()["messages"]
    chat.ask(session, "And then?")
    assert contents(chat.client, share(chat, session, message_id=messages[1]["id"])["token"]) == ["Hi", "Hello."]
    assert contents(chat.client, share(chat, session, message_id=messages[0]["id"])["token"]) == ["Hi"]
    for unknown in (NOBODYS, chat.ask(chat.open(), "Hi")["ai_response"]["id"]):
        refused = chat.request("POST", f"/sessions/{session}/share", json={"message_id": unknown})
        assert_problem(refused, 404, "not_found")


def test_expired_share_is_not_listed_and_does_not_count(chat: Chat, session: str, sql: Sql) -> None:
    share(chat, session, expires_in_days=1)
    sql.do("UPDATE chat_shares SET expires_at = now()")
    assert chat.request("GET", "/shares").json()["pagination"]["total"] == 0
    assert_problem(chat.request("GET", f"/sessions/{session}/share"), 404, "not_found")


def test_empty_session_cannot_be_shared(chat: Chat) -> None:
    assert_problem(chat.request("POST", f"/sessions/{chat.open()}/share", json={}), 409, "empty_session")


def test_answer_in_progress_cannot_be_shared(chat: Chat, provider: Provider, sql: Sql) -> None:
    session, gate = chat.open(), threading.Event()
    provider.script(held(gate, answers("Yes.")))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(chat.ask, session, "Hi")
        provider.wait_for_calls(1)
        refused = assert_problem(chat.request("POST", f"/sessions/{session}/share", json={}), 409, "turn_active")
        assert refused["message_id"] == chat.messages(session)[-1]["id"]
        assert sql.value("SELECT count(*) FROM chat_shares") == 0
        gate.set()
        asked.result()
    share(chat, session)


@pytest.mark.parametrize(("name", "value"), [("MAX_MESSAGES", 3), ("MAX_BYTES", 20)])
def test_large_branch_is_refused(
    chat: Chat, session: str, monkeypatch: pytest.MonkeyPatch, provider: Provider, name: str, value: int
) -> None:
    share(chat, session)
    chat.ask(session, "What comes next?")
    monkeypatch.setattr(service, name, value)
    refused = chat.request("POST", f"/sessions/{session}/share", json={})
    assert_problem(refused, 422, "share_too_large")
    assert chat.request("GET", f"/sessions/{session}/share").json()["message_count"] == 2


def test_number_of_shares_is_limited_also_for_concurrent_requests(chat: Chat, small_limits: TestClient) -> None:
    limited = Chat(small_limits, chat.user)
    sessions = [limited.open() for _ in range(5)]
    for session in sessions:
        limited.ask(session, "Hi")
    with ThreadPoolExecutor(5) as pool:
        responses = list(
            pool.map(lambda session: limited.request("POST", f"/sessions/{session}/share", json={}), sessions)
        )
    assert sorted(response.status_code for response in responses) == [201, 201, 409, 409, 409]
    shared = limited.request("GET", "/shares").json()
    assert shared["pagination"]["total"] == 2
    share(limited, shared["shares"][0]["session_id"])  # a replacement is no further share
    refused = next(response for response in responses if response.status_code == 409)
    assert_problem(refused, 409, "too_many_shares")


def test_sharing_can_be_disabled(chat: Chat, session: str, without_sharing: TestClient) -> None:
    token = share(chat, session)["token"]
    disabled = Chat(without_sharing, chat.user)
    assert_problem(disabled.request("POST", f"/sessions/{session}/share", json={}), 403, "sharing_disabled")
    assert_problem(read(without_sharing, token), 404, "not_found")
    assert_problem(disabled.request("POST", f"/shared/{token}/clone"), 404, "not_found")
    assert disabled.request("GET", "/shares").json()["pagination"]["total"] == 1
    assert disabled.request("DELETE", f"/sessions/{session}/share").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"expires_in_days": 0},
        {"expires_in_days": 3651},
        {"expires_in_days": True},
        {"title": " "},
        {"title": "x" * 201},
        {"message_id": "1"},
        {"include_models": "yes"},
        {"token": "mine"},
    ],
)
def test_invalid_options_are_refused(chat: Chat, session: str, body: dict[str, object], sql: Sql) -> None:
    assert_problem(chat.request("POST", f"/sessions/{session}/share", json=body), 422, "validation_error")
    assert sql.value("SELECT count(*) FROM chat_shares") == 0


def test_session_of_another_user_cannot_be_shared(others_chat: Chat, session: str, sql: Sql) -> None:
    assert_problem(others_chat.request("POST", f"/sessions/{session}/share", json={}), 404, "not_found")
    for method in ("GET", "DELETE"):
        assert_problem(others_chat.request(method, f"/sessions/{session}/share"), 404, "not_found")
    assert sql.value("SELECT count(*) FROM chat_shares") == 0


def test_number_of_statements_does_not_grow_with_the_messages(chat: Chat, session: str) -> None:
    numbers = []
    for _ in range(3):
        with counted_statements() as statements:
            token = share(chat, session)["token"]
            read(chat.client, token)
            chat.request("POST", f"/shared/{token}/clone")
        numbers.append(len(statements))
        chat.ask(session, "And then?")
    assert len(set(numbers)) == 1


def test_share_revocation_and_copy_are_audited(chat: Chat, others_chat: Chat, session: str, sql: Sql) -> None:
    shared = share(chat, session, expires_in_days=1)
    copy = others_chat.request("POST", f"/shared/{shared['token']}/clone").json()
    chat.request("DELETE", f"/sessions/{session}/share")
    rows = sql.rows("SELECT * FROM audit_log WHERE action LIKE 'share.%%' ORDER BY id")
    assert [(row["action"], str(row["actor_id"]), str(row["target_id"])) for row in rows] == [
        ("share.created", chat.user.id, shared["id"]),
        ("share.copied", others_chat.user.id, shared["id"]),
        ("share.deleted", chat.user.id, shared["id"]),
    ]
    created, copied, deleted = (row["details"] for row in rows)
    assert (created["session"], created["messages"]) == (session, 2)
    assert created["expires_at"]
    assert copied == {"session": copy["session_id"]}
    assert deleted == {"session": session}


def test_deletion_waits_for_a_share_that_is_being_created(chat: Chat, session: str, sql: Sql) -> None:
    with ThreadPoolExecutor(2) as pool:
        sql.do("BEGIN")
        try:
            sql.do("SELECT id FROM users WHERE username = 'ada' FOR UPDATE")
            created = pool.submit(chat.request, "POST", f"/sessions/{session}/share", json={})
            deleted = pool.submit(chat.request, "DELETE", f"/sessions/{session}")
            sql.wait_for_blocked(2)
        finally:
            sql.do("COMMIT")
        assert deleted.result().status_code == 200
        assert created.result().status_code in {201, 404}
    assert sql.value("SELECT count(*) FROM chat_shares") == 0


def test_many_shares_are_listed_newest_first_in_pages(chat: Chat, provider: Provider) -> None:
    provider.always(echoes())
    shared = []
    for number in range(5):
        session = chat.open(title=f"Session {number}")
        chat.ask(session, "Hi")
        shared.append(share(chat, session)["title"])
    pages = [chat.request("GET", f"/shares?page={page}&size=2").json() for page in (1, 2, 3)]
    assert [one["title"] for page in pages for one in page["shares"]] == shared[::-1]
    assert pages[2]["pagination"]["has_next"] is False


async def test_expired_shares_are_purged(pool: Database, chat: Chat, session: str, sql: Sql) -> None:
    others = chat.open(title="Others")
    chat.ask(others, "Hi")
    share(chat, session, expires_in_days=1)
    share(chat, others, expires_in_days=1)
    sql.do("UPDATE chat_shares SET expires_at = now() - interval '1 s' WHERE title = 'Plans'")
    async with pool.autocommit() as connection:
        assert await shares.purge(connection, limit=10) == 1
    assert sql.rows("SELECT title FROM chat_shares") == [{"title": "Others"}]
