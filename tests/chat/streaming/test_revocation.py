"""Open streams of a login or an API key that is no longer valid."""

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
WAYS = {
    "logged out": REVOKE_LOGIN,
    "expired": "UPDATE auth_sessions SET expires_at = now() - interval '1 second'",
    "login deleted": "DELETE FROM auth_sessions",
    "disabled": "UPDATE users SET is_active = false",
}


@pytest.fixture
def slow_answers(provider: Provider) -> Iterator[threading.Event]:
    """Answers that end when the event is set, or else with the test."""
    with closed_gate() as gate:
        provider.always(answers(" ".join("abcdef"), every=0.05, end=gate))
        yield gate
    # Let the turns of the test end before the next one empties the tables under them.
    provider.wait_until(lambda: all(call.finished or call.abandoned for call in provider.calls))
    time.sleep(0.2)


def assert_cut(server: ChatServer, sql: Sql, revocation: str) -> str:
    """Follow an answer, revoke, and give the session. As long as it is not cut, the answer goes on."""
    session = server.open()
    with server.ask(session) as reader:
        events = reader.take(2)
        sql.do(revocation)
        events += list(reader)
    assert not {event.name for event in events} & TERMINAL
    return session


@pytest.mark.usefixtures("slow_answers")
@pytest.mark.parametrize("way", WAYS)
def test_a_stream_ends_when_its_login_is(server: ChatServer, sql: Sql, way: str) -> None:
    assert_cut(server, sql, WAYS[way])
    assert server.http.get("/sessions").status_code == 401


def test_the_turn_itself_runs_on_and_is_stored(server: ChatServer, sql: Sql, slow_answers: threading.Event) -> None:
    assert_cut(server, sql, REVOKE_LOGIN)
    slow_answers.set()
    wait_until(lambda: sql.value("SELECT count(*) FROM chat_messages WHERE status = 'pending'") == 0)
    (row,) = sql.rows("SELECT status, content FROM chat_messages WHERE role = 'assistant'")
    assert row == {"status": "complete", "content": "a b c d e f"}


@pytest.mark.usefixtures("slow_answers")
def test_an_erased_account_s_stream_ends(server: ChatServer, sql: Sql) -> None:
    session = server.open()
    with server.ask(session) as reader:
        reader.take(2)
        sql.do("DELETE FROM users")
        # Cut, or ended because its turn was: whichever is noticed first.
        assert [event.name for event in reader if event.name == "message.completed"] == []


@pytest.mark.usefixtures("slow_answers")
def test_streams_that_follow_from_elsewhere_end_too(replicas: tuple[ChatServer, ChatServer], sql: Sql) -> None:
    session = replicas[0].open()
    with replicas[0].ask(session) as reader:
        events = reader.take(2)
        with replicas[1].resume(session, events[0].data["message_id"]) as other:
            others = other.take(2)
            sql.do(REVOKE_LOGIN)
            assert (others + list(other))[-1].name not in TERMINAL
            assert (events + list(reader))[-1].name not in TERMINAL


@pytest.mark.usefixtures("slow_answers")
def test_a_direct_answer_s_stream_ends_too(server: ChatServer, sql: Sql) -> None:
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
def test_a_stream_ends_when_its_api_key_does(server: ChatServer, ada: User, sql: Sql, revocation: str) -> None:
    key = new_api_key()
    sql.do(
        "INSERT INTO api_keys (uuid, user_id, name, prefix, token_hash, scopes)"
        " SELECT gen_random_uuid(), id, 'test', %s, %s, ARRAY['chat:read', 'chat:write'] FROM users WHERE uuid = %s",
        [key[:12], hash_token(key), ada.id],
    )
    server.http.headers["Authorization"] = f"Bearer {key}"
    # A login that ends does not end what came in with a key.
    sql.do(REVOKE_LOGIN)
    assert_cut(server, sql, revocation)


def test_other_people_s_streams_go_on(
    server: ChatServer,
    make_user: Callable[[str], User],
    sql: Sql,
    slow_answers: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look, looks = RevocationWatch._check, list[object]()

    async def noticed(watch: RevocationWatch) -> None:
        await look(watch)
        looks.append(watch)

    monkeypatch.setattr(RevocationWatch, "_check", noticed)
    eve = make_user("eve")
    with server.ask(server.open()) as reader:
        reader.take(2)
        sql.do("DELETE FROM users WHERE uuid = %s", [eve.id])
        seen = len(looks)
        wait_until(lambda: len(looks) >= seen + 2)  # the first of them may have begun before
        slow_answers.set()
        assert list(reader)[-1].name == "message.completed"
