"""The event `session.title` of streams in sessions that the user has not named."""

from tests.fixtures.database import Sql
from tests.fixtures.streaming import ChatServer, Event
from tests.support.provider import Provider, answers, held
from tests.support.waiting import closed_gate


def untitled(server: ChatServer) -> str:
    return str(server.http.post("/sessions", json={}).raise_for_status().json()["session_id"])


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events if event.name != "message.delta"]


def titles(events: list[Event]) -> list[str]:
    return [event.data["title"] for event in events if event.name == "session.title"]


def test_title_of_the_first_question_follows_the_created_event(server: ChatServer) -> None:
    session = untitled(server)
    events = server.ask_all(session, "# Where is it warm?")
    assert names(events) == ["message.created", "session.title", "message.completed"]
    assert events[1].data == {"session_id": session, "title": "Where is it warm?"}
    assert events[1].id == 0


def test_session_that_the_user_has_named_has_no_title_event(server: ChatServer) -> None:
    assert names(server.ask_all(server.open())) == ["message.created", "message.completed"]


def test_direct_stream_has_no_title_event(server: ChatServer) -> None:
    assert names(server.ask_all(None)) == ["message.created", "message.completed"]


def test_title_of_the_model_is_sent_at_the_start_of_the_next_stream(server: ChatServer, sql: Sql) -> None:
    session = untitled(server)
    server.ask_all(session, "Where is it warm?")
    sql.do("UPDATE chat_sessions SET title = 'Warm places', title_source = 'model'")
    assert titles(server.ask_all(session, "And in March?")) == ["Warm places"]


def test_title_that_changes_during_an_answer_is_sent_before_its_end(
    replicas: tuple[ChatServer, ChatServer], provider: Provider
) -> None:
    server, other = replicas
    session = server.open()
    with closed_gate() as gate:
        provider.script(held(gate, answers("Rome.")))
        with server.ask(session, "Where is it warm?") as reader:
            (created,) = reader.take(1)
            with other.resume(session, created.data["message_id"]) as follower:
                follower.take(1)
                other.http.patch(f"/sessions/{session}", json={"title": "Warm places"}).raise_for_status()
                gate.set()
                for events in (list(reader), list(follower)):
                    assert names(events) == ["session.title", "message.completed"]
                    assert titles(events) == ["Warm places"]
                    assert events[-2].id == len("Rome.")


def test_resumed_and_replayed_streams_repeat_no_title(server: ChatServer) -> None:
    session = untitled(server)
    events = server.ask_all(session, "Where is it warm?")
    message = events[0].data["message_id"]
    assert titles(server.resume_all(session, message)) == []
    assert titles(server.resume_all(session, message, after=0)) == []
