"""message tree: depth and ancestor pointers of messages, active branch of sessions, summaries of branches"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

# Jump pointers of E. W. Myers, "An applicative random-access stack" (1983): every ancestor is reached in O(log depth)
# steps, and a new message needs no more than the pointers of its parent.
_PLACE = """
CREATE FUNCTION chat_messages_place() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    parent chat_messages%ROWTYPE;
    jump_of_jump bigint;
    depth_of_jump_of_jump integer := 0;
BEGIN
    -- The previous release knows no branches: what it inserts follows the newest message of the session.
    IF NEW.parent_id IS NULL AND NEW.depth IS NULL THEN
        SELECT id INTO NEW.parent_id FROM chat_messages
        WHERE session_id = NEW.session_id AND seq < NEW.seq ORDER BY seq DESC LIMIT 1;
    END IF;
    IF NEW.parent_id IS NULL THEN
        NEW.depth := 1;
        NEW.jump_id := NULL;
        NEW.jump_depth := 0;
        RETURN NEW;
    END IF;
    -- By its key only: with the session too, PostgreSQL may read the whole session for each message of a large insert.
    SELECT * INTO parent FROM chat_messages WHERE id = NEW.parent_id;
    IF NOT FOUND OR parent.session_id <> NEW.session_id THEN
        RAISE foreign_key_violation USING
            MESSAGE = 'the parent of a message is a message of its session', CONSTRAINT = 'chat_messages_place';
    END IF;
    -- Null while migration 0018 has not reached the session: it sets the columns of the new message too.
    NEW.depth := parent.depth + 1;
    IF parent.jump_id IS NOT NULL THEN
        SELECT jump_id, jump_depth INTO jump_of_jump, depth_of_jump_of_jump
        FROM chat_messages WHERE id = parent.jump_id;
    END IF;
    IF parent.depth - parent.jump_depth = parent.jump_depth - depth_of_jump_of_jump THEN
        NEW.jump_id := jump_of_jump;
        NEW.jump_depth := depth_of_jump_of_jump;
    ELSE
        NEW.jump_id := parent.id;
        NEW.jump_depth := parent.depth;
    END IF;
    RETURN NEW;
END
$$
"""
_ANCESTOR = """
CREATE FUNCTION chat_message_ancestor(message_id bigint, ancestor_depth integer) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    next_id bigint := message_id;
    step record;
BEGIN
    LOOP
        SELECT id, parent_id, depth, jump_id, jump_depth INTO step FROM chat_messages WHERE id = next_id;
        IF NOT FOUND OR step.depth < ancestor_depth THEN
            RETURN NULL;
        END IF;
        IF step.depth = ancestor_depth THEN
            RETURN step.id;
        END IF;
        next_id := CASE WHEN step.jump_depth >= ancestor_depth THEN step.jump_id ELSE step.parent_id END;
    END LOOP;
END
$$
"""


def upgrade() -> None:
    """Apply. Existing messages get their place in the tree in revision 0018."""
    for name in ("depth", "jump_depth"):
        op.add_column("chat_messages", sa.Column(name, sa.Integer(), nullable=True))
    op.add_column("chat_messages", sa.Column("jump_id", sa.BigInteger(), nullable=True))
    op.add_column("chat_sessions", sa.Column("active_seq", sa.Integer(), nullable=True))
    op.create_check_constraint(
        op.f("ck_chat_sessions_active_seq"),
        "chat_sessions",
        "active_seq BETWEEN 0 AND last_seq",
        postgresql_not_valid=True,  # the column is empty: no scan of the table under the lock
    )
    op.execute(_PLACE)
    op.execute(_ANCESTOR)
    op.execute(
        "CREATE TRIGGER chat_messages_place BEFORE INSERT ON chat_messages"
        " FOR EACH ROW EXECUTE FUNCTION chat_messages_place()"
    )
    op.create_table(
        "chat_summaries",
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("depth > 0", name=op.f("ck_chat_summaries_depth")),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["chat_messages.id"],
            name=op.f("fk_chat_summaries_message_id_chat_messages"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.id"],
            name=op.f("fk_chat_summaries_session_id_chat_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_chat_summaries")),
    )
    op.create_index(op.f("ix_chat_summaries_session_id"), "chat_summaries", ["session_id"], unique=False)


def downgrade() -> None:
    """Undo. Sessions keep the messages of all branches, in the order of their creation."""
    op.drop_table("chat_summaries")
    op.execute("DROP TRIGGER chat_messages_place ON chat_messages")
    op.execute("DROP FUNCTION chat_message_ancestor")
    op.execute("DROP FUNCTION chat_messages_place")
    op.drop_constraint(op.f("ck_chat_sessions_active_seq"), "chat_sessions", type_="check")
    op.drop_column("chat_sessions", "active_seq")
    for name in ("jump_id", "jump_depth", "depth"):
        op.drop_column("chat_messages", name)
