"""Administration of chat sessions."""

from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.services.redis.keys import cache_index_of_session
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, Chat, User, assert_problem
from tests.fixtures.streaming import ChatServer
from tests.support.provider import Provider, answers, chunk, fails, streams

CANARY = "canary7f3a"
REASON = {"reason": "Ticket 4711"}


class SessionsClient:
    """Client that administers sessions as an admin."""

    def __init__(self, client: TestClient, admin: User) -> None:
        self.client = client
        self.admin = admin

    def request(self, method: str, path: str = "", **arguments: Any) -> Response:  # noqa: ANN401 - passed on
        return self.client.request(method, f"{ADMIN}/sessions{path}", headers=self.admin.headers, **arguments)

    def get(self, path: str = "", /, **query: str | bool | int) -> dict[str, Any]:
        response = self.request("GET", path, params=query)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def session_ids(self, **query: str | bool) -> list[str]:
        return [one["session_id"] for one in self.get(**query)["sessions"]]


@pytest.fixture
def sessions_client(admin_client: TestClient, admin: User) -> SessionsClient:
    return SessionsClient(admin_client, admin)


@pytest.fixture
def session(chat: Chat, provider: Provider) -> str:
    """Session with an answered and a failed turn, and a canary in all text of the user and the model."""
    provider.always(answers(f"{CANARY} answer", usage=(9, 3)))
    session = chat.open(title=f"{CANARY} title", context={CANARY: CANARY})
    context = dict.fromkeys((f"{CANARY}2", "model_used", "error", "cost_usd"), CANARY)
    chat.ask(session, f"{CANARY} question", context=context)
    provider.always(fails(400))
    chat.ask(session, f"{CANARY} question that nobody answers")
    return session


def entries(sql: Sql, action: str) -> list[dict[str, Any]]:
    return sql.rows(
        "SELECT actor_id::text, target_id::text, outcome, details FROM audit_log WHERE action = %s ORDER BY id",
        [action],
    )


def test_lists_and_details_contain_no_text_of_the_session(
    sessions_client: SessionsClient, session: str, chat: Chat, sql: Sql
) -> None:
    sql.do(
        "INSERT INTO chat_summaries (message_id, session_id, depth, content)"
        " SELECT id, session_id, depth, %s FROM chat_messages WHERE depth = 2",
        [CANARY],
    )
    (listed,) = sessions_client.get()["sessions"]
    assert (
        listed.items()
        >= {
            "session_id": session,
            "user_id": chat.user.id,
            "message_count": 4,
            "is_archived": False,
            "running_message_id": None,
        }.items()
    )
    detail = sessions_client.get(f"/{session}")
    assert {name: detail[name] for name in listed} == listed
    assert (detail["usage"]["turns"], detail["usage"]["total_tokens"]) == (2, 12)
    assert [(one["role"], one["status"], one["error"]) for one in detail["messages"]] == [
        ("user", "complete", None),
        ("assistant", "complete", None),
        ("user", "complete", None),
        ("assistant", "failed", "provider_rejected"),
    ]
    question, answer, *_ = detail["messages"]
    assert (answer["parent_id"], question["parent_id"]) == (question["id"], None)
    assert (answer["model"], answer["tokens_used"]) == ("gpt-primary", 12)
    assert CANARY not in f"{listed} {detail}"
    assert entries(sql, "session.read") == []


def test_sessions_are_found_by_owner_time_and_state(
    sessions_client: SessionsClient, chat: Chat, others_chat: Chat, provider: Provider, sql: Sql
) -> None:
    old, archived, new = chat.open(), chat.open(), chat.open()
    others = others_chat.open()
    sql.do("UPDATE chat_sessions SET is_active = false WHERE uuid = %s", [archived])
    sql.do("UPDATE chat_sessions SET created_at = '2026-01-01T00:00Z' WHERE uuid = %s", [old])
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status, lease_expires_at)"
        " SELECT gen_random_uuid(), id, 1, 'assistant', '', 'pending', now() FROM chat_sessions WHERE uuid = %s",
        [new],
    )
    assert sessions_client.session_ids() == [others, new, archived, old]
    assert sessions_client.session_ids(user=chat.user.id) == [new, archived, old]
    assert sessions_client.session_ids(user=str(uuid4())) == []
    assert sessions_client.session_ids(to="2026-01-02T00:00:00Z") == [old]
    assert sessions_client.session_ids(**{"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}) == []
    assert sessions_client.session_ids(**{"from": "2026-01-02T00:00:00Z"}) == [others, new, archived]
    assert sessions_client.session_ids(is_archived=True) == [archived]
    assert sessions_client.session_ids(is_archived=False, user=chat.user.id) == [new, old]
    assert sessions_client.session_ids(is_running=True) == [new]
    assert sessions_client.session_ids(is_running=False, user=chat.user.id) == [archived, old]
    page = sessions_client.get(size=2, page=2)
    assert [one["session_id"] for one in page["sessions"]] == [archived, old]
    assert page["pagination"] == {
        "total": 4, "page": 2, "size": 2, "pages": 2, "has_next": False, "has_prev": True
    }  # fmt: skip


def test_reading_text_records_the_reason_in_the_audit_log_and_the_owners_export(
    sessions_client: SessionsClient, session: str, chat: Chat, auth_client: TestClient, sql: Sql
) -> None:
    response = sessions_client.request("POST", f"/{session}/read", json=REASON)
    assert response.status_code == 200, response.text
    read = response.json()
    assert (read["title"], read["context"], read["user_id"]) == (f"{CANARY} title", {CANARY: CANARY}, chat.user.id)
    own = chat.request("GET", f"/sessions/{session}").json()["messages"]
    same = ("id", "content", "timestamp")
    assert [[one[name] for name in same] for one in read["messages"]] == [[one[name] for name in same] for one in own]
    details = {"session": session, "reason": "Ticket 4711"}
    assert entries(sql, "session.read") == [
        {"actor_id": sessions_client.admin.id, "target_id": chat.user.id, "outcome": "done", "details": details}
    ]
    exported = auth_client.get("/api/v1/auth/me/export", headers=chat.user.headers).json()["audit_log"]
    assert [entry["details"] for entry in exported if entry["action"] == "session.read"] == [details]


def test_details_show_the_branches_in_pages(sessions_client: SessionsClient, chat: Chat) -> None:
    session = chat.open(title=CANARY)
    first = chat.ask(session, CANARY)
    edited = chat.ask(session, CANARY, parent_id=None)
    again = chat.request(
        "POST", f"/sessions/{session}/messages/{first['user_message']['id']}/regenerate", json={}
    ).json()
    detail = sessions_client.get(f"/{session}")
    question = first["user_message"]["id"]
    tree = [
        (question, None, True),
        (first["ai_response"]["id"], question, False),
        (edited["user_message"]["id"], None, False),
        (edited["ai_response"]["id"], edited["user_message"]["id"], False),
        (again["ai_response"]["id"], question, True),
    ]
    assert [(one["id"], one["parent_id"], one["is_on_active_branch"]) for one in detail["messages"]] == tree
    assert not detail["has_older"]
    newest = sessions_client.get(f"/{session}", limit=2)
    assert ([one["id"] for one in newest["messages"]], newest["has_older"]) == ([one[0] for one in tree[3:]], True)
    older = sessions_client.get(f"/{session}", limit=3, before=tree[3][0])
    assert ([one["id"] for one in older["messages"]], older["has_older"]) == ([one[0] for one in tree[:3]], False)
    assert CANARY not in f"{detail}"
    for query in ({"limit": 0}, {"limit": 201}, {"before": "x"}, {"after": question}):
        assert_problem(sessions_client.request("GET", f"/{session}", params=query), 422, "validation_error")


def test_feedback_is_part_of_the_text_that_is_read(sessions_client: SessionsClient, session: str, chat: Chat) -> None:
    answer = chat.messages(session)[1]["id"]
    feedback = {"rating": "down", "reasons": ["style"], "comment": f"{CANARY} comment"}
    assert chat.request("PUT", f"/sessions/{session}/messages/{answer}/feedback", json=feedback).is_success
    read = sessions_client.request("POST", f"/{session}/read", json=REASON).json()["messages"]
    assert [one["feedback"] for one in read] == [None, feedback, None, None]
    assert CANARY not in f"{sessions_client.get(f'/{session}')}"


def test_a_long_session_is_read_in_pages(sessions_client: SessionsClient, session: str) -> None:
    newest = sessions_client.request("POST", f"/{session}/read", json=REASON | {"limit": 3}).json()["messages"]
    older = sessions_client.request("POST", f"/{session}/read", json=REASON | {"before": newest[0]["id"]}).json()[
        "messages"
    ]
    assert [one["role"] for one in older + newest] == ["user", "assistant"] * 2
    assert len({one["id"] for one in older + newest}) == 4


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": "  \n "}, {"reason": "x" * 201}, REASON | {"limit": 0}]
)
def test_reading_text_requires_a_reason(
    sessions_client: SessionsClient, session: str, sql: Sql, body: dict[str, Any]
) -> None:
    response = sessions_client.request("POST", f"/{session}/read", json=body)
    assert_problem(response, 422)
    assert CANARY not in response.text
    assert entries(sql, "session.read") == []


def test_text_is_not_returned_if_the_audit_log_fails(
    sessions_client: SessionsClient, session: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("app.admin.sessions.audit_log.record", refuse)
    response = sessions_client.request("POST", f"/{session}/read", json=REASON)
    assert_problem(response, 500)
    assert CANARY not in response.text


def test_deleting_a_session_is_recorded_in_the_audit_log(
    sessions_client: SessionsClient, session: str, chat: Chat, sql: Sql, redis: Redis
) -> None:
    calls = sql.value("SELECT count(*) FROM llm_calls")
    assert sessions_client.request("DELETE", f"/{session}").status_code == 200
    assert_problem(chat.request("GET", f"/sessions/{session}"), 404)
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT count(*) FROM llm_calls") == calls
    assert redis.exists(cache_index_of_session(sql.value("SELECT %s::uuid", [session])).deleted)
    (entry,) = entries(sql, "session.deleted")
    assert (entry["actor_id"], entry["target_id"]) == (sessions_client.admin.id, chat.user.id)
    assert entry["details"] == {"session": session, "messages": 4}
    assert_problem(sessions_client.request("DELETE", f"/{session}"), 404)
    assert len(entries(sql, "session.deleted")) == 1


@pytest.mark.parametrize("channel", ["redis", "postgresql"])
def test_an_answer_of_another_process_is_cancelled(
    sessions_client: SessionsClient,
    replicas: tuple[ChatServer, ChatServer],
    provider: Provider,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
    channel: str,
) -> None:
    if channel == "postgresql":

        async def publish_nothing(*_: object) -> None: ...

        monkeypatch.setattr("app.services.redis.cancel_channel.CancelChannel.publish", publish_nothing)
    session = replicas[0].open()
    provider.script(streams(chunk("Once"), hold=True))
    with replicas[0].ask(session) as reader:
        message = reader.take(2)[0].data["message_id"]
        assert sessions_client.session_ids(is_running=True) == [session]
        assert sessions_client.get(f"/{session}")["running_message_id"] == message
        response = sessions_client.request("POST", f"/{session}/messages/{message}/cancel")
        assert response.json() == {"message_id": message, "status": "cancelled"}
        assert list(reader)[-1].name == "message.cancelled"
    assert [entry["details"] for entry in entries(sql, "turn.stopped")] == [{"session": session, "message": message}]
    # A second call has no effect, because the answer has ended.
    assert sessions_client.request("POST", f"/{session}/messages/{message}/cancel").json()["status"] == "cancelled"
    assert len(entries(sql, "turn.stopped")) == 1


def test_only_answers_of_the_session_can_be_cancelled(
    sessions_client: SessionsClient, session: str, chat: Chat
) -> None:
    question, answer, *_ = sessions_client.get(f"/{session}")["messages"]
    other = chat.open()
    for path in (f"/{session}/messages/{question['id']}", f"/{other}/messages/{answer['id']}"):
        assert_problem(sessions_client.request("POST", f"{path}/cancel"), 404)


def test_admin_and_user_see_the_same_usage(admin_client: TestClient, admin: User, session: str, chat: Chat) -> None:
    used = admin_client.get(f"{ADMIN}/users/{chat.user.id}/usage", headers=admin.headers).json()
    assert used == chat.request("GET", "/usage").json()
    assert used["total"]["turns"] == 2
