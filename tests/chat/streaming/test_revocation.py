"""Open streams of a login, or of an API key, that is not good any more."""

import time
from collections.abc import Callable, Iterator

import pytest

from app.core.security import hash_token, new_api_key
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.fixtures.streaming import TERMINAL, ChatServer
from tests.support.provider import Provider, answers

REVOKE_LOGIN = "UPDATE auth_sessions SET revoked_at = now(), revoked_reason = 'logout'"
WAYS = {
    "logged out": REVOKE_LOGIN,
    "expired": "UPDATE auth_sessions SET expires_at = now() - interval '1 second'",
    "login deleted": "DELETE FROM auth_sessions",
    "disabled": "UPDATE users SET is_active = false",
}


@pytest.fixture
def slow_answers(provider: Provider) -> Iterator[None]:
    provider.always(answers(" ".join("abcdef"), every=0.5))
    yield
    # Let the turns of the test end before the next one empties the tables under them.
    provider.wait_until(lambda: all(call.finished or call.abandoned for call in provider.calls))
    time.sleep(0.2)


def assert_cut_within_two_seconds(server: ChatServer, sql: Sql, revocation: str) -> str:
    """Follow an answer, revoke, and give the session."""
    session = server.open()
    with server.ask(session) as reader:
        events = reader.take(2)
        sql.do(revocation)
        revoked = time.monotonic()
        events += list(reader)
        assert time.monotonic() - revoked < 2
    assert not {event.name for event in events} & TERMINAL
    return session


@pytest.mark.usefixtures("slow_answers")
@pytest.mark.parametrize("way", WAYS)
def test_a_stream_ends_when_its_login_is(server: ChatServer, sql: Sql, way: str) -> None:
    assert_cut_within_two_seconds(server, sql, WAYS[way])
    assert server.http.get("/sessions").status_code == 401


@pytest.mark.usefixtures("slow_answers")
def test_the_turn_itself_runs_on_and_is_stored(server: ChatServer, sql: Sql) -> None:
    assert_cut_within_two_seconds(server, sql, REVOKE_LOGIN)
    deadline = time.monotonic() + 10
    while (row := sql.rows("SELECT status, content FROM chat_messages WHERE role = 'assistant'")[0])[
        "status"
    ] == "pending":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert row == {"status": "complete", "content": "a b c d e f"}


@pytest.mark.usefixtures("slow_answers")
def test_an_erased_account_s_stream_ends(server: ChatServer, sql: Sql) -> None:
    session = server.open()
    with server.ask(session) as reader:
        reader.take(2)
        sql.do("DELETE FROM users")
        erased = time.monotonic()
        # Cut, or ended because its turn was: whichever is noticed first.
        assert [event.name for event in reader if event.name == "message.completed"] == []
        assert time.monotonic() - erased < 2


@pytest.mark.usefixtures("slow_answers")
def test_streams_that_follow_from_elsewhere_end_too(replicas: tuple[ChatServer, ChatServer], sql: Sql) -> None:
    session = replicas[0].open()
    with replicas[0].ask(session) as reader:
        events = reader.take(2)
        with replicas[1].resume(session, events[0].data["message_id"]) as other:
            others = other.take(2)
            sql.do(REVOKE_LOGIN)
            revoked = time.monotonic()
            assert (others + list(other))[-1].name not in TERMINAL
            assert (events + list(reader))[-1].name not in TERMINAL
            assert time.monotonic() - revoked < 2


@pytest.mark.usefixtures("slow_answers")
def test_a_direct_answer_s_stream_ends_too(server: ChatServer, sql: Sql) -> None:
    with server.ask(None) as reader:
        events = reader.take(2)
        sql.do(REVOKE_LOGIN)
        revoked = time.monotonic()
        assert (events + list(reader))[-1].name not in TERMINAL
        assert time.monotonic() - revoked < 2


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
    assert_cut_within_two_seconds(server, sql, revocation)


@pytest.mark.usefixtures("slow_answers")
def test_other_people_s_streams_go_on(server: ChatServer, make_user: Callable[[str], User], sql: Sql) -> None:
    eve = make_user("eve")
    with server.ask(server.open()) as reader:
        reader.take(2)
        sql.do("DELETE FROM users WHERE uuid = %s", [eve.id])
        assert list(reader)[-1].name == "message.completed"
