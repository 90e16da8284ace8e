from uuid import UUID, uuid4

import pytest

from tests.fixtures.database import Sql


@pytest.fixture
def user_id(sql: Sql) -> int:
    return int(
        sql.value(
            "INSERT INTO users (uuid, email, username, password_hash)"
            " VALUES (gen_random_uuid(), 'ada@example.com', 'ada', '') RETURNING id"
        )
    )


@pytest.fixture
def session(sql: Sql, user_id: int) -> UUID:
    uuid = uuid4()
    sql.do("INSERT INTO chat_sessions (uuid, user_id, title) VALUES (%s, %s, '')", [uuid, user_id])
    return uuid
