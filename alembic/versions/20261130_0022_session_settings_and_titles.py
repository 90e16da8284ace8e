"""archived, pinned and tagged sessions, their model, the source of their title; ledger rows of titles"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

_LIST = "ix_chat_sessions_user_id_is_active_updated_at"
_PREVIOUS_LIST = "ix_chat_sessions_user_id_updated_at"
_PINNED = "ix_chat_sessions_user_id_pinned"
_CHECKS = {
    "ck_chat_sessions_title_source": (
        "chat_sessions",
        "title_source IN ('default', 'question', 'model', 'user')",
    ),
    "ck_chat_sessions_tags": ("chat_sessions", "cardinality(tags) <= 20"),
    "ck_llm_calls_purpose": ("llm_calls", "purpose IN ('answer', 'summary', 'title')"),
}


def upgrade() -> None:
    """Apply. Existing titles count as the user's: no model replaces them.

    It may be interrupted: what has been committed is left out or replaced when it is run again.
    """
    for column in (
        sa.Column("title_source", sa.String(length=20), server_default="user", nullable=False),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("is_pinned", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("tags", sa.ARRAY(sa.String(length=50)), server_default=sa.text("'{}'"), nullable=False),
    ):
        op.add_column("chat_sessions", column, if_not_exists=True)
    for name, (table, condition) in _CHECKS.items():
        op.drop_constraint(op.f(name), table, type_="check", if_exists=True)
        op.create_check_constraint(op.f(name), table, condition, postgresql_not_valid=True)
    # Without blocking writes: both tables are large.
    with op.get_context().autocommit_block():
        for name, (table, _) in _CHECKS.items():
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
        for name in (_LIST, _PINNED):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # invalid, if an earlier run was interrupted
        op.execute(f"CREATE INDEX CONCURRENTLY {_LIST} ON chat_sessions (user_id, is_active, updated_at DESC, id DESC)")
        op.execute(
            f"CREATE INDEX CONCURRENTLY {_PINNED} ON chat_sessions (user_id, updated_at DESC, id DESC) WHERE is_pinned"
        )
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_PREVIOUS_LIST}")


def downgrade() -> None:
    """Undo. Ledger rows of titles count as summaries."""
    op.create_index(
        _PREVIOUS_LIST, "chat_sessions", ["user_id", sa.text("updated_at DESC"), sa.text("id DESC")], unique=False
    )
    op.drop_index(_PINNED, table_name="chat_sessions")
    op.drop_index(_LIST, table_name="chat_sessions")
    # The worker reconciles the roll-ups with the ledger.
    op.execute("ALTER TABLE llm_calls DISABLE TRIGGER llm_calls_update_anonymises")
    op.execute("GRANT UPDATE (purpose) ON llm_calls TO CURRENT_USER")
    op.execute("UPDATE llm_calls SET purpose = 'summary' WHERE purpose = 'title'")
    op.execute("REVOKE UPDATE (purpose) ON llm_calls FROM CURRENT_USER")
    op.execute("ALTER TABLE llm_calls ENABLE ALWAYS TRIGGER llm_calls_update_anonymises")
    op.drop_constraint(op.f("ck_llm_calls_purpose"), "llm_calls", type_="check")
    op.create_check_constraint(op.f("ck_llm_calls_purpose"), "llm_calls", "purpose IN ('answer', 'summary')")
    for name in ("tags", "title_source"):
        op.drop_constraint(op.f(f"ck_chat_sessions_{name}"), "chat_sessions", type_="check")
    for name in ("tags", "is_pinned", "model", "title_source"):
        op.drop_column("chat_sessions", name)
