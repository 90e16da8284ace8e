"""Turns whose process has ended: rows with an expired lease."""

from datetime import timedelta
from uuid import uuid4

from app.database.connection import Database
from app.database.repositories.turns import turn_start
from app.database.repositories.turns.turns import NewTurn, StartedTurn
from tests.fixtures.database import Sql

INSERT_USER = """
INSERT INTO users (uuid, email, username, password_hash)
VALUES (gen_random_uuid(), 'ada@example.com', 'ada', '') RETURNING id
"""
ANSWER_STATUS = "SELECT status FROM chat_messages WHERE role = 'assistant'"
NONE_PENDING = "SELECT count(*) = 0 FROM chat_messages WHERE status = 'pending'"


async def start_abandoned_turns(database: Database, sql: Sql, user: int, count: int) -> list[StartedTurn]:
    """Start turns with an expired lease, each in its own session."""
    abandoned = []
    for _ in range(count):
        uuid = uuid4()
        sql.do("INSERT INTO chat_sessions (uuid, user_id, title) VALUES (%s, %s, '')", [uuid, user])
        new = NewTurn(
            user_id=user,
            session_uuid=uuid,
            content="Twelve chars",
            meta={},
            question_uuid=uuid4(),
            answer_uuid=uuid4(),
            lease=timedelta(seconds=-1),
            model="gpt-asked-for",
        )
        async with database.autocommit() as connection:
            started = await turn_start.start_turn(connection, new)
        assert started is not None
        abandoned.append(started)
    return abandoned


def expire_leases(sql: Sql) -> None:
    sql.do("UPDATE chat_messages SET lease_expires_at = now() WHERE status = 'pending'")
