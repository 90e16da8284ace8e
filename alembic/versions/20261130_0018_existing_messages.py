"""place of existing messages in the tree: every session becomes one branch"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_SESSIONS_PER_BATCH = 500
_NEXT_BATCH = sa.text("SELECT id FROM chat_sessions WHERE id > :after ORDER BY id LIMIT :batch")
# A message follows the one before it. The lock keeps new messages out of the sessions until the batch is committed.
_LOCK = sa.text("SELECT id FROM chat_sessions WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")
_PLACE = sa.text("""
    UPDATE chat_messages AS message
    SET depth = place.depth, parent_id = place.parent_id, jump_id = place.jump_id, jump_depth = place.jump_depth
    FROM (
        SELECT numbered.id, numbered.depth, parent.id AS parent_id, jump.id AS jump_id, jumps.jump_depth
        FROM (
            SELECT id, session_id, (row_number() OVER (PARTITION BY session_id ORDER BY seq))::integer AS depth
            FROM chat_messages WHERE session_id = ANY(:ids)
        ) AS numbered
        JOIN unnest(CAST(:jump_depths AS integer[])) WITH ORDINALITY AS jumps (jump_depth, depth)
            ON jumps.depth = numbered.depth
        LEFT JOIN (
            SELECT id, session_id, (row_number() OVER (PARTITION BY session_id ORDER BY seq))::integer AS depth
            FROM chat_messages WHERE session_id = ANY(:ids)
        ) AS parent ON parent.session_id = numbered.session_id AND parent.depth = numbered.depth - 1
        LEFT JOIN (
            SELECT id, session_id, (row_number() OVER (PARTITION BY session_id ORDER BY seq))::integer AS depth
            FROM chat_messages WHERE session_id = ANY(:ids)
        ) AS jump ON jump.session_id = numbered.session_id AND jump.depth = jumps.jump_depth
    ) AS place
    WHERE place.id = message.id AND message.depth IS NULL
""")
_LONGEST = sa.text("SELECT coalesce(max(last_seq), 0) FROM chat_sessions WHERE id = ANY(:ids)")
_MOVE_SUMMARIES = sa.text("""
    INSERT INTO chat_summaries (message_id, session_id, depth, content)
    SELECT message.id, session.id, message.depth, session.summary
    FROM chat_sessions AS session
    JOIN chat_messages AS message ON message.session_id = session.id AND message.seq = session.summary_upto_seq
    WHERE session.id = ANY(:ids) AND session.summary IS NOT NULL
    ON CONFLICT DO NOTHING
""")
_CLEAR_SUMMARIES = sa.text(
    "UPDATE chat_sessions SET summary = NULL, summary_upto_seq = 0 WHERE id = ANY(:ids) AND summary IS NOT NULL"
)
_FIRST_MESSAGES = "ix_chat_messages_session_id_first"
_TREE = "ck_chat_messages_tree"


def upgrade() -> None:
    """Apply, in batches that are committed one by one. It may be interrupted, and continues when it is run again."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        after = 0
        while ids := connection.scalars(_NEXT_BATCH, {"after": after, "batch": _SESSIONS_PER_BATCH}).all():
            _place(connection, list(ids))
            after = ids[-1]
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_FIRST_MESSAGES}")
        op.execute(f"CREATE INDEX CONCURRENTLY {_FIRST_MESSAGES} ON chat_messages (session_id) WHERE parent_id IS NULL")
        # Validated without blocking writes. NOT NULL then needs no scan of its own.
        for name, condition in {
            _TREE: "depth > jump_depth AND (depth = 1) = (parent_id IS NULL)",
            "ck_chat_messages_placed": "depth IS NOT NULL AND jump_depth IS NOT NULL",
        }.items():
            op.execute(f"ALTER TABLE chat_messages DROP CONSTRAINT IF EXISTS {name}")
            op.execute(f"ALTER TABLE chat_messages ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
            op.execute(f"ALTER TABLE chat_messages VALIDATE CONSTRAINT {name}")
        op.execute("ALTER TABLE chat_sessions VALIDATE CONSTRAINT ck_chat_sessions_active_seq")
    op.alter_column("chat_messages", "depth", existing_type=sa.Integer(), nullable=False)
    op.alter_column("chat_messages", "jump_depth", existing_type=sa.Integer(), nullable=False)
    op.drop_constraint(op.f("ck_chat_messages_placed"), "chat_messages", type_="check")


def downgrade() -> None:
    """Undo."""
    op.drop_constraint(op.f(_TREE), "chat_messages", type_="check")
    op.drop_index(_FIRST_MESSAGES, table_name="chat_messages")
    for name in ("jump_depth", "depth"):
        op.alter_column("chat_messages", name, existing_type=sa.Integer(), nullable=True)
    op.execute("UPDATE chat_messages SET parent_id = NULL WHERE role = 'user' AND parent_id IS NOT NULL")


def _place(connection: sa.Connection, ids: list[int]) -> None:
    """Place the messages of some sessions, in one transaction."""
    parameters: dict[str, Any] = {"ids": ids}
    connection.execute(sa.text("BEGIN"))
    connection.execute(_LOCK, parameters)
    longest = connection.scalar(_LONGEST, parameters)
    parameters["jump_depths"] = [_jump_depth(depth) for depth in range(1, longest + 1)]
    connection.execute(_PLACE, parameters)
    connection.execute(_MOVE_SUMMARIES, {"ids": ids})
    connection.execute(_CLEAR_SUMMARIES, {"ids": ids})
    connection.execute(sa.text("COMMIT"))


def _jump_depth(depth: int) -> int:
    """Return the depth of the ancestor that the jump pointer of a message refers to.

    It is the depth without the smallest term of its skew-binary representation, whose terms are 2^k - 1.
    """
    rest, term = depth, 0
    while rest:
        term = (1 << (rest + 1).bit_length() - 1) - 1
        rest -= term
    return depth - term
