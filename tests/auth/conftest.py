"""Accounts with data in every table."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, PASSWORD, Chat, User, login, register
from tests.support.provider import Provider, answers, fails

CANARY = "canary7f3a"


@pytest.fixture
def eve(
    auth_client: TestClient,
    chat_client: TestClient,
    sql: Sql,
    provider: Provider,
    roll_up: Callable[[int], int],
    index_texts: Callable[[], int],
) -> User:
    """An account with data in every store that can hold some, each containing the canary."""
    name = f"{CANARY}-eve"
    headers = {"User-Agent": f"{CANARY} browser"}
    account = register(auth_client, name, full_name=f"{CANARY} name").json()
    login(auth_client, name, "a wrong password")
    tokens = auth_client.post(f"{AUTH}/login", data={"username": name, "password": PASSWORD}, headers=headers).json()
    user = User(account["id"], account["email"], name, tokens["access_token"], tokens["refresh_token"])
    sql.do("UPDATE auth_sessions SET ip = '203.0.113.77' WHERE user_agent LIKE 'canary%%'")
    auth_client.put(f"{AUTH}/profile", json={"preferences": {CANARY: CANARY, "theme": "dark"}}, headers=user.headers)
    key = auth_client.post(
        f"{AUTH}/api-keys", json={"name": f"{CANARY} key", "scopes": ["chat:write"]}, headers=user.headers
    ).json()
    sql.do("UPDATE api_keys SET prefix = %s", [CANARY])
    sql.do(
        "INSERT INTO one_time_tokens (user_id, purpose, token_hash, expires_at)"
        " SELECT id, 'reset_password', sha256('x'), now() + interval '1 hour' FROM users WHERE uuid = %s",
        [user.id],
    )
    sql.do(
        "INSERT INTO quota_reservations (turn_id, user_id, tokens, cost_usd, expires_at)"
        " SELECT gen_random_uuid(), id, 1, 0, now() + interval '1 hour' FROM users WHERE uuid = %s",
        [user.id],
    )
    sql.do("INSERT INTO outgoing_mails (kind, recipient) VALUES ('reset_password', upper(%s))", [user.email])
    sql.do(
        "INSERT INTO invitations (uuid, email, full_name, role, expires_at)"
        " VALUES (gen_random_uuid(), upper(%s), %s, 'user', now() + interval '1 h')",
        [user.email, f"{CANARY} invited"],
    )
    sql.do("INSERT INTO webhook_endpoints (uuid, url, events) VALUES (gen_random_uuid(), 'https://example.com', '{*}')")
    provider.always(answers(f"{CANARY} answer"))
    chat = Chat(chat_client, user)
    session = chat.open(title=f"{CANARY} title", context={CANARY: CANARY})
    sql.do("UPDATE chat_sessions SET tags = ARRAY[%s]", [f"{CANARY} tag"])
    answer = chat.ask(session, f"{CANARY} question", context={f"{CANARY}2": CANARY})["ai_response"]
    feedback = {"rating": "up", "comment": f"{CANARY} comment"}
    assert chat.request("PUT", f"/sessions/{session}/messages/{answer['id']}/feedback", json=feedback).is_success
    assert chat.request("POST", f"/sessions/{session}/share", json={}).is_success
    sql.do(
        "INSERT INTO chat_summaries (message_id, session_id, depth, content)"
        " SELECT id, session_id, depth, %s FROM chat_messages WHERE depth = 2",
        [f"{CANARY} summary"],
    )
    sql.do(
        "INSERT INTO imported_sessions (session_id, user_id, fingerprint)"
        " SELECT id, user_id, sha256('x') FROM chat_sessions"
    )
    sql.do(
        "INSERT INTO chat_imports (uuid, user_id, format, status, session_count, report)"
        " SELECT gen_random_uuid(), id, 'chatgpt', 'complete', 0, %s FROM users WHERE uuid = %s",
        [f'{{"{CANARY}": 0}}', user.id],
    )
    provider.script(fails(400), fails(400))
    chat.ask(session, f"{CANARY} question that nobody answers")
    question = {"message": f"{CANARY} direct question"}
    chat.request("POST", "/direct", json=question, headers={"Idempotency-Key": CANARY})
    assert index_texts() == 5
    Chat(chat_client, replace(user, access_token=key["key"])).ask(session, f"{CANARY} by a program")
    assert roll_up(3) == 3
    return user


def insert_conversations(sql: Sql, user: User, *, sessions: int, messages: int) -> None:
    """Insert sessions of a user with the given number of messages each, and their ledger entries."""
    sql.do(
        """
        WITH made AS (
            INSERT INTO chat_sessions (uuid, user_id, title, message_count, last_seq)
            SELECT gen_random_uuid(), (SELECT id FROM users WHERE uuid = %(u)s), 'Session', %(m)s, %(m)s
            FROM generate_series(1, %(s)s) RETURNING id
        ), questions AS (
            INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
            SELECT gen_random_uuid(), made.id, seq, 'user', 'question ' || seq, 'complete'
            FROM made, generate_series(1, %(m)s, 2) AS seq RETURNING id, session_id, seq
        ), answers AS (
            INSERT INTO chat_messages (uuid, session_id, seq, parent_id, role, content, status)
            SELECT gen_random_uuid(), session_id, seq + 1, id, 'assistant', 'answer ' || seq, 'complete'
            FROM questions WHERE seq < %(m)s RETURNING uuid, session_id
        )
        INSERT INTO llm_calls (turn_id, attempt, user_id, session_id, model_requested, status, latency_ms)
        SELECT uuid, 1, (SELECT id FROM users WHERE uuid = %(u)s), session_id, 'm', 'ok', 1 FROM answers
        """,
        {"u": user.id, "s": sessions, "m": messages},
    )
