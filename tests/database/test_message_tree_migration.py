"""Migration of existing messages to the message tree: every session becomes one branch."""

from collections.abc import Iterator

import pytest
from alembic import command

from app.database import migrations
from tests.chat.sessions.test_branch_sequences import VALID_TREE
from tests.fixtures.database import Sql

INSERT_SESSIONS = """
WITH account AS (
    INSERT INTO users (uuid, email, username, password_hash) VALUES (gen_random_uuid(), 'a', 'a', '') RETURNING id
), made AS (
    INSERT INTO chat_sessions (uuid, user_id, title, message_count, last_seq, summary, summary_upto_seq)
    SELECT gen_random_uuid(), id, length, length, length, CASE WHEN length > 4 THEN 'summary' END,
        CASE WHEN length > 4 THEN 4 ELSE 0 END
    FROM account, unnest(ARRAY[0, 2, 4, 40, 1200]) AS length RETURNING id, last_seq
)
INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
SELECT gen_random_uuid(), id, seq, CASE seq %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, '', 'complete'
FROM made, generate_series(1, last_seq) AS seq
"""
LINK_ANSWERS = """
UPDATE chat_messages AS answer SET parent_id = question.id FROM chat_messages AS question
WHERE question.session_id = answer.session_id AND question.seq = answer.seq - 1 AND answer.role = 'assistant'
"""
# As the previous release stores a turn.
INSERT_TURN = """
WITH session AS (
    UPDATE chat_sessions SET last_seq = last_seq + 2, message_count = message_count + 2
    WHERE title = '40' RETURNING id, last_seq
), question AS (
    INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
    SELECT gen_random_uuid(), id, last_seq - 1, 'user', '', 'complete' FROM session RETURNING id
)
INSERT INTO chat_messages (uuid, session_id, seq, parent_id, role, content, status)
SELECT gen_random_uuid(), session.id, last_seq, question.id, 'assistant', '', 'complete' FROM session, question
"""
STRAIGHT = """
SELECT count(*) FROM chat_messages AS message
LEFT JOIN chat_messages AS parent ON parent.session_id = message.session_id AND parent.seq = message.seq - 1
WHERE message.depth <> message.seq OR message.parent_id IS DISTINCT FROM parent.id
"""


@pytest.fixture
def before(empty_database_url: str) -> Iterator[Sql]:
    """A database of the previous release with sessions of several lengths."""
    command.upgrade(migrations.alembic_config(empty_database_url), "0016")
    sql = Sql(empty_database_url)
    sql.do(INSERT_SESSIONS)
    sql.do(LINK_ANSWERS)
    yield sql
    sql.close()


def test_existing_sessions_become_one_branch_each(empty_database_url: str, before: Sql) -> None:
    migrations.upgrade(empty_database_url)
    assert before.value(STRAIGHT) == before.value(VALID_TREE) == 0
    assert before.value("SELECT count(*) FROM chat_messages") == 1246
    summaries = before.rows("SELECT depth, content FROM chat_summaries ORDER BY session_id")
    assert summaries == [{"depth": 4, "content": "summary"}] * 2
    assert before.value("SELECT count(*) FROM chat_sessions WHERE summary IS NOT NULL") == 0


def test_turns_of_the_previous_release_are_part_of_the_branch(empty_database_url: str, before: Sql) -> None:
    # Between the two revisions, the previous release inserts into sessions that have no place in the tree yet.
    command.upgrade(migrations.alembic_config(empty_database_url), "0017")
    before.do(INSERT_TURN)
    migrations.upgrade(empty_database_url)
    before.do(INSERT_TURN)
    assert before.value("SELECT last_seq FROM chat_sessions WHERE title = '40'") == 44
    assert before.value(STRAIGHT) == before.value(VALID_TREE) == 0


def test_an_interrupted_migration_continues(empty_database_url: str, before: Sql) -> None:
    command.upgrade(migrations.alembic_config(empty_database_url), "0017")
    # As if one batch had been committed.
    before.do(
        "UPDATE chat_messages SET depth = seq, jump_depth = 0 WHERE seq = 1 AND session_id IN"
        " (SELECT id FROM chat_sessions WHERE title IN ('2', '4'))"
    )
    migrations.upgrade(empty_database_url)
    assert before.value(STRAIGHT) == before.value(VALID_TREE) == 0


def test_the_previous_release_works_after_a_downgrade(empty_database_url: str, before: Sql) -> None:
    migrations.upgrade(empty_database_url)
    command.downgrade(migrations.alembic_config(empty_database_url), "0016")
    before.do(INSERT_TURN)
    assert before.value("SELECT count(*) FROM chat_messages WHERE role = 'user' AND parent_id IS NOT NULL") == 0
