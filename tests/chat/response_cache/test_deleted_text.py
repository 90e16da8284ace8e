"""Text of deleted conversations: every way to delete it removes it from all tables and from all of Redis at once."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread

import pytest
from fastapi.testclient import TestClient
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app.database.connection import Database
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from app.worker.session_retention import open_session_retention
from tests.chat.response_cache.cached_answers import cached_text
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, AUTH, PASSWORD, User
from tests.fixtures.streaming import ChatServer
from tests.support.provider import Provider, answers
from tests.support.waiting import wait_until

CANARY = "canary7f3a"


def everything(redis: Redis) -> str:
    """Return the names and values of all keys in Redis, except the tombstones, which have ids only."""
    found = []
    for key in sorted(redis.scan_iter()):
        match redis.type(key):
            case b"string":
                value: object = redis.get(key)
            case b"stream":
                value = redis.xrange(key)
            case b"zset":
                value = redis.zrange(key, 0, -1)
            case other:
                value = other
        found.append(f"{key!r}: {value!r}")
    return "\n".join(found)


@dataclass(frozen=True)
class Conversation:
    """A session with the canary in every store that can hold text of it."""

    server: ChatServer
    session: str
    question: str

    def traces(self, sql: Sql, redis: Redis) -> set[str]:
        """Return the stores that contain the canary."""
        binary = CANARY.encode().hex()  # of stored responses
        tables = {table for table, rows in sql.everything().items() if CANARY in rows or binary in rows}
        in_redis = {line.partition(":")[0][2:] for line in everything(redis).splitlines() if CANARY in line}
        return tables | in_redis


@pytest.fixture
def conversation(
    ada_server: ChatServer, redis: Redis, sql: Sql, provider: Provider, index_texts: Callable[[], int]
) -> Conversation:
    provider.always(answers(f"{CANARY} answer"))
    session = ada_server.open(title=f"{CANARY} title", context={"x": CANARY})
    events = ada_server.ask_all(session, f"{CANARY} question")
    answer = events[0].data["message_id"]
    path = f"/sessions/{session}"
    feedback = {"rating": "up", "comment": f"{CANARY} comment"}
    ada_server.http.put(f"{path}/messages/{answer}/feedback", json=feedback).raise_for_status()
    ada_server.http.post(f"{path}/share", json={}).raise_for_status()
    again = {"message": f"{CANARY} again"}
    ada_server.http.post(f"{path}/messages", json=again, headers={"Idempotency-Key": "a"}).raise_for_status()
    sql.do(
        "INSERT INTO chat_summaries (message_id, session_id, depth, content)"
        " SELECT id, session_id, depth, %s FROM chat_messages WHERE depth = 2",
        [CANARY],
    )
    index_texts()
    wait_until(lambda: cached_text(redis).count(CANARY) >= 1)
    made = Conversation(ada_server, session, ada_server.messages(session)[0]["id"])
    expected = {
        "chat_sessions", "chat_messages", "chat_summaries", "chat_shares", "message_feedback", "search_documents",
        "idempotency_keys", "turn", "answer",
    }  # fmt: skip
    assert made.traces(sql, redis) >= expected
    return made


def test_deleted_session(conversation: Conversation, sql: Sql, redis: Redis) -> None:
    conversation.server.http.delete(f"/sessions/{conversation.session}").raise_for_status()
    assert conversation.traces(sql, redis) == set()


def test_sessions_deleted_together(conversation: Conversation, sql: Sql, redis: Redis) -> None:
    conversation.server.http.post("/sessions/delete", json={"all": True}).raise_for_status()
    assert conversation.traces(sql, redis) == set()


def test_deleted_messages(conversation: Conversation, sql: Sql, redis: Redis) -> None:
    path = f"/sessions/{conversation.session}"
    conversation.server.http.delete(f"{path}/messages/{conversation.question}").raise_for_status()
    # Title and context of the session were set by the user.
    assert conversation.traces(sql, redis) == {"chat_sessions", "search_documents"}
    assert sql.value("SELECT count(*) FROM search_documents WHERE title_of_id IS NULL") == 0


def test_session_deleted_by_an_admin(
    conversation: Conversation, admin_client: TestClient, admin: User, sql: Sql, redis: Redis
) -> None:
    path = f"{ADMIN}/sessions/{conversation.session}"
    assert admin_client.delete(path, headers=admin.headers).is_success
    assert conversation.traces(sql, redis) == set()


async def test_unused_session(
    conversation: Conversation, pool: Database, redis_url: str, sql: Sql, redis: Redis
) -> None:
    sql.do("UPDATE chat_sessions SET updated_at = now() - interval '40 days'")
    async with AsyncRedis.from_url(redis_url) as client:
        breaker = RedisCircuitBreaker(client, budget=10)
        async with open_session_retention(pool, breaker, days=30) as retention:
            assert await retention.delete_unused() == 1
        await breaker.close()
    assert conversation.traces(sql, redis) == set()


def test_erased_account(conversation: Conversation, auth_client: TestClient, sql: Sql, redis: Redis) -> None:
    erased = auth_client.request(
        "DELETE", f"{AUTH}/me", json={"password": PASSWORD}, headers=conversation.server.user.headers
    )
    assert erased.is_success
    assert conversation.traces(sql, redis) == set()


def test_session_deleted_during_its_answer(ada_server: ChatServer, provider: Provider, sql: Sql, redis: Redis) -> None:
    provider.always(answers(f"{CANARY} " * 60, every=0.05))
    session = ada_server.open()
    with ada_server.ask(session, CANARY) as reader:
        reader.read_to(len(CANARY))
        reading = Thread(target=list, args=(reader,), daemon=True)
        reading.start()
        ada_server.http.delete(f"/sessions/{session}").raise_for_status()
        seen = [CANARY in everything(redis)]
        while reading.is_alive():
            reading.join(0.02)
            seen.append(CANARY in everything(redis))
    assert not any(seen)
