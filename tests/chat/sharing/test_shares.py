"""Sharing of conversations: creation, revocation, expiry, deletion, limits."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import main
from app.chat.sharing import service
from app.config import Settings
from app.database.connection import Database
from app.database.repositories.sharing import shares
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import CHAT, Chat, User, assert_problem
from tests.support.provider import Provider, answers, echoes, fails, held

NOBODYS = "5f0c9d4e-2b1a-4c3d-8e7f-6a5b4c3d2e1f"


def share(chat: Chat, session: str, **options: object) -> dict[str, Any]:
    response = chat.request("POST", f"/sessions/{session}/share", json=options)
    assert response.status_code == 201, response.text
    return dict(response.json())


def read(client: TestClient, token: str) -> Any:  # noqa: ANN401 - the client's response
    return client.get(f"{CHAT}/shared/{token}")


def contents(client: TestClient, token: str) -> list[str]:
    response = read(client, token)
    assert response.status_code == 200, response.text
    return [message["content"] for message in response.json()["messages"]]


@pytest.fixture
def session(chat: Chat, provider: Provider) -> str:
    """A session of Ada with one turn, titled Plans."""
    provider.always(answers("Hello."))
    session = chat.open(title="Plans", context={"system_prompt": "canary7f3a"})
    chat.ask(session, "Hi", context={"secret": "canary7f3a"})
    return session


@pytest.fixture
def small_limits(settings: Settings) -> Iterator[TestClient]:
    with TestClient(main.create(settings.model_copy(update={"SHARES_PER_USER": 2}))) as client:
        yield client


@pytest.fixture
def without_sharing(settings: Settings) -> Iterator[TestClient]:
    with TestClient(main.create(settings.model_copy(update={"SHARING_ENABLED": False}))) as client:
        yield client


def test_link_shows_texts_roles_and_times_and_nothing_else(chat: Chat, session: str) -> None:
    shared = share(chat, session)
    response = read(chat.client, shared["token"])
    assert response.status_code == 200, response.text
    document = response.json()
    assert set(document) == {"title", "created_at", "expires_at", "messages"}
    assert (document["title"], document["expires_at"]) == ("Plans", None)
    stored = chat.request("GET", f"/sessions/{session}").json()["messages"]
    for message, original in zip(document["messages"], stored, strict=True):
        assert message.pop("model") is None
        assert message == {name: original[name] for name in ("role", "content", "status", "timestamp")}
    for secret in (chat.user.id, chat.user.username, "canary7f3a", session, *(message["id"] for message in stored)):
        assert secret not in response.text


def test_response_may_not_be_indexed_stored_or_referred_to(chat: Chat, session: str) -> None:
    token = share(chat, session)["token"]
    for path in (token, "invalid"):
        headers = read(chat.client, path).headers
        assert headers["X-Robots-Tag"] == "noindex, nofollow, noarchive"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_owner_sees_the_link_again_and_the_database_does_not_hold_it(chat: Chat, session: str, sql: Sql) -> None:
    shared = share(chat, session, expires_in_days=30, title=" For you ")
    assert shared["title"] == "For you"
    assert shared["url"] == f"http://localhost:3000/shared#token={shared['token']}"
    assert chat.request("GET", f"/sessions/{session}/share").json() == shared
    assert chat.request("GET", "/shares").json()["shares"] == [shared]
    assert sql.value("SELECT expires_at - created_at = interval '30 days' FROM chat_shares")
    assert shared["token"] not in "".join(sql.everything().values())


def test_models_are_shown_only_if_the_owner_chose_it(chat: Chat, session: str) -> None:
    shared = share(chat, session, include_models=True)
    question, answer = read(chat.client, shared["token"]).json()["messages"]
    assert question["model"] is None
    assert answer["model"].startswith("gpt-primary")
    assert "gpt" not in read(chat.client, share(chat, session)["token"]).text


def test_snapshot_does_not_change_with_the_session(chat: Chat, session: str) -> None:
    token = share(chat, session)["token"]
    chat.ask(session, "And then?")
    assert contents(chat.client, token) == ["Hi", "Hello."]


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


def test_failed_answer_is_shown_as_failed(chat: Chat, provider: Provider) -> None:
    provider.script(fails(400), fails(400))
    session = chat.open()
    chat.ask(session, "Hi")
    messages = read(chat.client, share(chat, session)["token"]).json()["messages"]
    assert [message["status"] for message in messages] == ["complete", "failed"]


def test_revoked_link_does_not_work(chat: Chat, session: str, sql: Sql) -> None:
    token = share(chat, session)["token"]
    assert chat.request("DELETE", f"/sessions/{session}/share").json() == {"message": "Share revoked."}
    assert_problem(read(chat.client, token), 404, "not_found")
    assert sql.value("SELECT count(*) FROM chat_shares") == 0
    for method in ("GET", "DELETE"):
        assert_problem(chat.request(method, f"/sessions/{session}/share"), 404, "not_found")


def test_invalid_tokens_get_the_same_response(chat: Chat, session: str, sql: Sql, others_chat: Chat) -> None:
    other = chat.open()
    chat.ask(other, "Hi")
    token, revoked = share(chat, session)["token"], share(chat, other)["token"]
    chat.request("DELETE", f"/sessions/{other}/share")
    expired_session = chat.open()
    chat.ask(expired_session, "Hi")
    expired = share(chat, expired_session, expires_in_days=1)["token"]
    sql.do("UPDATE chat_shares SET expires_at = now() - interval '1 s' WHERE expires_at IS NOT NULL")
    edited = token[:30] + ("A" if token[30] != "A" else "B") + token[31:]
    spoiled = [
        revoked,
        expired,
        edited,
        token[:-1],
        token + "A",
        token + "=",
        token.swapcase(),
        token[:22] + expired[22:],
    ]
    guessed = [NOBODYS, "A" * 64, "x", "%00", "a" * 5000, "\u00e9" * 64]
    texts = set()
    for invalid in (*spoiled, *guessed):
        for response in (read(chat.client, invalid), others_chat.request("POST", f"/shared/{invalid}/clone")):
            problem = assert_problem(response, 404, "not_found")
            del problem["request_id"]
            texts.add(str(problem))
            assert response.headers["X-Robots-Tag"]
    assert len(texts) == 1
    assert contents(chat.client, token) == ["Hi", "Hello."]


def test_expired_share_is_not_listed_and_does_not_count(chat: Chat, session: str, sql: Sql) -> None:
    share(chat, session, expires_in_days=1)
    sql.do("UPDATE chat_shares SET expires_at = now()")
    assert chat.request("GET", "/shares").json()["pagination"]["total"] == 0
    assert_problem(chat.request("GET", f"/sessions/{session}/share"), 404, "not_found")


def test_link_of_a_disabled_account_does_not_work_while_it_is_disabled(chat: Chat, session: str, sql: Sql) -> None:
    token = share(chat, session)["token"]
    sql.do("UPDATE users SET is_active = false")
    assert_problem(read(chat.client, token), 404, "not_found")
    sql.do("UPDATE users SET is_active = true")
    assert read(chat.client, token).status_code == 200


@pytest.mark.parametrize(
    "deletion",
    [
        "DELETE FROM chat_sessions",
        "DELETE FROM chat_messages WHERE role = 'assistant'",
        "DELETE FROM chat_messages WHERE seq = 1",
        "DELETE FROM users",
    ],
)
def test_deletion_of_session_message_or_account_deletes_the_text(
    chat: Chat, session: str, sql: Sql, deletion: str
) -> None:
    token = share(chat, session)["token"]
    assert "Hello." in sql.everything()["chat_shares"]
    sql.do(deletion)
    assert sql.everything()["chat_shares"] == ""
    assert_problem(read(chat.client, token), 404, "not_found")


def test_deleted_session_is_shared_no_longer(chat: Chat, session: str, sql: Sql) -> None:
    token = share(chat, session)["token"]
    assert chat.request("DELETE", f"/sessions/{session}").status_code == 200
    assert_problem(read(chat.client, token), 404, "not_found")
    assert "Hello." not in "".join(sql.everything().values())


def test_empty_session_cannot_be_shared(chat: Chat) -> None:
    assert_problem(chat.request("POST", f"/sessions/{chat.open()}/share", json={}), 409, "empty_session")


def test_answer_in_progress_cannot_be_shared(chat: Chat, provider: Provider, sql: Sql) -> None:
    session, gate = chat.open(), threading.Event()
    provider.script(held(gate, answers("Yes.")))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(chat.ask, session, "Hi")
        provider.wait_for_calls(1)
        assert_problem(chat.request("POST", f"/sessions/{session}/share", json={}), 409, "turn_active")
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


def test_copy_is_a_session_of_the_viewer(chat: Chat, others_chat: Chat, session: str, provider: Provider) -> None:
    chat.ask(session, "And then?")
    token = share(chat, session, include_models=True)["token"]
    response = others_chat.request("POST", f"/shared/{token}/clone")
    assert response.status_code == 201, response.text
    copy = response.json()
    assert (copy["title"], copy["context"], copy["message_count"]) == ("Plans", {}, 4)
    stored = others_chat.request("GET", f"/sessions/{copy['session_id']}").json()
    original = chat.request("GET", f"/sessions/{session}").json()["messages"]
    for name in ("role", "content", "status", "timestamp"):
        assert [message[name] for message in stored["messages"]] == [message[name] for message in original]
    ids = [message["id"] for message in stored["messages"]]
    assert not set(ids) & {message["id"] for message in original}
    assert [message["parent_id"] for message in stored["messages"]] == [None, *ids[:-1]]
    assert stored["messages"][1]["metadata"] == {"model_used": original[1]["metadata"]["model_used"]}
    (listed,) = others_chat.request("GET", "/sessions").json()["sessions"]
    assert (listed["last_message_preview"], listed["message_count"]) == ("Hello.", 4)
    assert stored["usage"]["calls"] == 0
    provider.always(echoes())
    answer = others_chat.ask(copy["session_id"], "Go on")["ai_response"]["content"]
    assert "user: Hi" in answer  # the copied messages are the history of the next question
    assert chat.request("DELETE", f"/sessions/{session}").status_code == 200
    assert len(others_chat.request("GET", f"/sessions/{copy['session_id']}").json()["messages"]) == 6


def test_copy_needs_a_login(chat: Chat, session: str, ada: User) -> None:
    token = share(chat, session)["token"]
    assert_problem(chat.client.post(f"{CHAT}/shared/{token}/clone"), 401, "unauthorized")
    headers = {"Authorization": "Bearer invalid"}
    assert chat.client.get(f"{CHAT}/shared/{token}", headers=headers).status_code == 200


async def test_expired_shares_are_purged(pool: Database, chat: Chat, session: str, sql: Sql) -> None:
    others = chat.open()
    chat.ask(others, "Hi")
    share(chat, session, expires_in_days=1)
    share(chat, others, expires_in_days=1)
    sql.do("UPDATE chat_shares SET expires_at = now() - interval '1 s' WHERE title = 'Plans'")
    async with pool.autocommit() as connection:
        assert await shares.purge(connection, limit=10) == 1
    assert sql.rows("SELECT title FROM chat_shares") == [{"title": "New Chat"}]
