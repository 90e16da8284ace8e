"""Open streams of a login or an API key that is revoked or expires."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app.chat.streaming.revocation import RevocationWatch
from app.core.security import hash_token, new_api_key
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.fixtures.streaming import TERMINAL, ChatServer
from tests.support.provider import Provider, answers
from tests.support.waiting import closed_gate, wait_until

REVOKE_LOGIN = "UPDATE auth_sessions SET revoked_at = now(), revoked_reason = 'logout'"
REVOCATIONS = {
    "logged out": REVOKE_LOGIN,
    "expired": "UPDATE auth_sessions SET expires_at = now() - interval '1 second'",
    "login deleted": "DELETE FROM auth_sessions",
    "disabled": "UPDATE users SET is_active = false",
}


@pytest.fixture
def slow_answers(provider: Provider) -> Iterator[threading.Event]:
    """Answers that end when the event is set, at the latest with the test."""
    with closed_gate() as gate:
        provider.always(answers(" ".join("abcdef"), every=0.05, end=gate))
        yield gate
    # The turns must end before the next test truncates the tables.
    provider.wait_until(lambda: all(call.finished or call.abandoned for call in provider.calls))
    time.sleep(0.2)


def assert_stream_ends(server: ChatServer, sql: Sql, revocation: str) -> str:
    """Run `revocation` during a stream, check that the stream ends without a terminal event, and return the session."""
    session = server.open()
    with server.ask(session) as reader:
        events = reader.take(2)
        sql.do(revocation)
        events += list(reader)
    assert not {event.name for event in events} & TERMINAL
    return session


@pytest.mark.usefixtures("slow_answers")
@pytest.mark.parametrize("revocation", REVOCATIONS)
def test_stream_ends_when_its_login_is_revoked_or_expires(server: ChatServer, sql: Sql, revocation: str) -> None:
    assert_stream_ends(server, sql, REVOCATIONS[revocation])
    assert server.http.get("/sessions").status_code == 401


def test_turn_of_a_revoked_stream_completes_and_is_stored(
    server: ChatServer, sql: Sql, slow_answers: threading.Event
) -> None:
    assert_stream_ends(server, sql, REVOKE_LOGIN)
    slow_answers.set()
    wait_until(lambda: sql.value("SELECT count(*) FROM chat_messages WHERE status = 'pending'") == 0)
    (row,) = sql.rows("SELECT status, content FROM chat_messages WHERE role = 'assistant'")
    assert row == {"status": "complete", "content": "a b c d e f"}


@pytest.mark.usefixtures("slow_answers")
def test_stream_of_a_deleted_user_ends(server: ChatServer, sql: Sql) -> None:
    session = server.open()
    with server.ask(session) as reader:
        reader.take(2)
        sql.do("DELETE FROM users")
        # The stream or its turn ends, whichever detects the deletion first.
        assert [event.name for event in reader if event.name == "message.completed"] == []


@pytest.mark.usefixtures("slow_answers")
def test_followers_on_other_replicas_end_when_the_login_is_revoked(
    replicas: tuple[ChatServer, ChatServer], sql: Sql
) -> None:
    session = replicas[0].open()
    with replicas[0].ask(session) as reader:
        events = reader.take(2)
        with replicas[1].resume(session, events[0].data["message_id"]) as follower:
            follower_events = follower.take(2)
            sql.do(REVOKE_LOGIN)
            assert (follower_events + list(follower))[-1].name not in TERMINAL
            assert (events + list(reader))[-1].name not in TERMINAL


@pytest.mark.usefixtures("slow_answers")
def test_direct_stream_ends_when_its_login_is_revoked(server: ChatServer, sql: Sql) -> None:
    with server.ask(None) as reader:
        events = reader.take(2)
        sql.do(REVOKE_LOGIN)
        assert (events + list(reader))[-1].name not in TERMINAL


@pytest.mark.usefixtures("slow_answers")
@pytest.mark.parametrize(
    "revocation",
    ["DELETE FROM api_keys", "UPDATE api_keys SET expires_at = now() - interval '1 second'"],
    ids=["deleted", "expired"],
)
def test_stream_ends_when_its_api_key_is_deleted_or_expires(
    server: ChatServer, ada: User, sql: Sql, revocation: str
) -> None:
    key = new_api_key()
    sql.do(
        "INSERT INTO api_keys (uuid, user_id, name, prefix, token_hash, scopes)"
        " SELECT gen_random_uuid(), id, 'test', %s, %s, ARRAY['chat:read', 'chat:write'] FROM users WHERE uuid = %s",
        [key[:12], hash_token(key), ada.id],
    )
    server.http.headers["Authorization"] = f"Bearer {key}"
    # A revoked login does not affect requests with an API key.
    sql.do(REVOKE_LOGIN)
    assert_stream_ends(server, sql, revocation)


def test_streams_of_other_users_continue(
    server: ChatServer,
    make_user: Callable[[str], User],
    sql: Sql,
    slow_answers: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check, checks = RevocationWatch._check, list[object]()

    async def record_check(watch: RevocationWatch) -> None:
        await check(watch)
        checks.append(watch)

    monkeypatch.setattr(RevocationWatch, "_check", record_check)
    eve = make_user("eve")
    with server.ask(server.open()) as reader:
        reader.take(2)
        sql.do("DELETE FROM users WHERE uuid = %s", [eve.id])
        count = len(checks)
        wait_until(lambda: len(checks) >= count + 2)  # the first one may have started before the deletion
        slow_answers.set()
        assert list(reader)[-1].name == "message.completed"
