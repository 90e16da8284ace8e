"""search index of titles and messages"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"

# Triggers also queue what a process of the previous release writes during a rolling upgrade.
_QUEUE_MESSAGE = """
CREATE FUNCTION chat_messages_queue_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO search_pending (session_id, message_id) VALUES (NEW.session_id, NEW.id);
    RETURN NULL;
END $$
"""
_QUEUE_TITLE = """
CREATE FUNCTION chat_sessions_queue_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO search_pending (session_id) VALUES (NEW.id);
    RETURN NULL;
END $$
"""
# The conditions are checked without calling the function: a pending answer and a lease renewal cost nothing.
_FINAL = "NEW.status NOT IN ('pending', 'streaming')"
_CHANGED = "(OLD.status IN ('pending', 'streaming') OR OLD.content IS DISTINCT FROM NEW.content)"
_TRIGGERS = (
    ("chat_messages", "chat_messages_queue_new", f"INSERT ON chat_messages FOR EACH ROW WHEN ({_FINAL})"),
    (
        "chat_messages",
        "chat_messages_queue_changed",
        f"UPDATE OF content, status ON chat_messages FOR EACH ROW WHEN ({_FINAL} AND {_CHANGED})",
    ),
    ("chat_sessions", "chat_sessions_queue_new", "INSERT ON chat_sessions FOR EACH ROW"),
    (
        "chat_sessions",
        "chat_sessions_queue_changed",
        "UPDATE OF title ON chat_sessions FOR EACH ROW WHEN (OLD.title IS DISTINCT FROM NEW.title)",
    ),
)


def upgrade() -> None:
    """Apply. The worker indexes existing texts later, in the background."""
    # In the order in which transactions lock rows: otherwise this migration and a running turn could deadlock.
    op.execute("LOCK TABLE users, chat_sessions, chat_messages IN SHARE ROW EXCLUSIVE MODE")
    op.create_table(
        "search_backfill",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("after_id", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id IN (1, 2)", name=op.f("ck_search_backfill_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_backfill")),
    )
    op.create_table(
        "search_pending",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_pending")),
    )
    op.create_index(op.f("ix_search_pending_session_id"), "search_pending", ["session_id"], unique=False)
    op.create_table(
        "search_owners",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("documents", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("documents >= 0", name=op.f("ck_search_owners_documents")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_search_owners_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_search_owners")),
    )
    op.create_table(
        "search_documents",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("title_of_id", sa.BigInteger(), nullable=True),
        sa.Column("terms", postgresql.TSVECTOR(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(message_id IS NULL) <> (title_of_id IS NULL)", name=op.f("ck_search_documents_one_source")
        ),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["chat_messages.id"],
            name=op.f("fk_search_documents_message_id_chat_messages"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["title_of_id"],
            ["chat_sessions.id"],
            name=op.f("fk_search_documents_title_of_id_chat_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_documents")),
        sa.UniqueConstraint("message_id", name=op.f("uq_search_documents_message_id")),
    )
    op.create_index(
        "uq_search_documents_title_of_id",
        "search_documents",
        ["title_of_id"],
        unique=True,
        postgresql_where=sa.text("title_of_id IS NOT NULL"),
    )
    op.create_index(
        "ix_search_documents_terms",
        "search_documents",
        ["terms"],
        unique=False,
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.execute(_QUEUE_MESSAGE)
    op.execute(_QUEUE_TITLE)
    for table, name, event in _TRIGGERS:
        op.execute(f"CREATE TRIGGER {name} AFTER {event} EXECUTE FUNCTION {table}_queue_search()")
    # The tables are locked until the end of this migration: no row is missed or queued twice.
    op.execute(
        "INSERT INTO search_backfill (id, after_id, last_id)"
        " VALUES (1, 0, coalesce((SELECT max(id) FROM chat_messages), 0)),"
        " (2, 0, coalesce((SELECT max(id) FROM chat_sessions), 0))"
    )


def downgrade() -> None:
    """Undo."""
    for table, name, _ in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON {table}")
    op.execute("DROP FUNCTION chat_sessions_queue_search")
    op.execute("DROP FUNCTION chat_messages_queue_search")
    op.drop_table("search_documents")
    op.drop_table("search_owners")
    op.drop_index(op.f("ix_search_pending_session_id"), table_name="search_pending")
    op.drop_table("search_pending")
    op.drop_table("search_backfill")
