"""Lifetimes of copies of running answers in Redis, with the longest permitted timeouts."""

from collections.abc import Iterator
from functools import partial
from queue import SimpleQueue
from uuid import UUID

import pytest
from redis import Redis

from app import main
from app.config import Settings
from app.services.redis.keys import reasoning_key, stream_key, stream_tombstone
from app.services.redis.stream_buffer import FINISHED_TTL
from tests.chat.streaming.stream_checks import STOP
from tests.chat.streaming.test_reasoning import thought
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.fixtures.streaming import ChatServer, serving
from tests.support.longest_turn import MAX_SECONDS, with_longest_turns
from tests.support.provider import DONE, Provider, chunk, streams_from_queue
from tests.support.waiting import wait_until


@pytest.fixture
def patient_server(settings: Settings, ada: User, sql: Sql, redis: Redis) -> Iterator[ChatServer]:
    """Client of a service with the longest permitted timeouts."""
    with serving(main.create(with_longest_turns(settings))) as url:
        server = ChatServer(url, ada)
        yield server
        server.http.close()


def test_buffers_outlast_the_longest_turn(patient_server: ChatServer, provider: Provider, redis: Redis) -> None:
    pieces = SimpleQueue[bytes | None]()
    provider.script(streams_from_queue(pieces))
    with patient_server.ask(patient_server.open()) as reader:
        answer = UUID(reader.take(1)[0].data["message_id"])
        for key, part in ((reasoning_key(answer), thought("Hm.")), (stream_key(answer), chunk("One"))):
            pieces.put(part)
            wait_until(partial(redis.exists, key))
            assert int(redis.ttl(key)) > MAX_SECONDS
        for piece in (chunk(" two."), STOP, DONE, None):
            pieces.put(piece)
        list(reader)
    wait_until(lambda: int(redis.ttl(stream_key(answer))) <= FINISHED_TTL)


@pytest.mark.parametrize("deleted", ["session", "question"])
def test_deletion_of_the_longest_turn_leaves_a_tombstone_that_outlasts_it(
    server: ChatServer, sql: Sql, redis: Redis, deleted: str
) -> None:
    session = server.open()
    created, *_ = server.ask_all(session)
    answer = UUID(created.data["message_id"])
    sql.do("UPDATE chat_messages SET updated_at = now() - %s * interval '1 s'", [MAX_SECONDS])
    path = f"/sessions/{session}" + (f"/messages/{created.data['user_message']['id']}" if deleted == "question" else "")
    assert server.http.delete(path).is_success
    assert redis.exists(stream_key(answer)) == 0
    assert int(redis.ttl(stream_tombstone(answer))) > MAX_SECONDS
