"""imports of conversations"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "chat_imports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("session_count", sa.Integer(), nullable=False),
        sa.Column("done_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("report", postgresql.JSONB(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("format IN ('conversations', 'chatgpt')", name=op.f("ck_chat_imports_format")),
        sa.CheckConstraint(
            "status IN ('running', 'complete', 'failed', 'interrupted')", name=op.f("ck_chat_imports_status")
        ),
        sa.CheckConstraint("done_count BETWEEN 0 AND session_count", name=op.f("ck_chat_imports_counts")),
        sa.CheckConstraint(
            "(status = 'running') = (lease_expires_at IS NOT NULL)", name=op.f("ck_chat_imports_lease_while_running")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_chat_imports_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_imports")),
        sa.UniqueConstraint("uuid", name=op.f("uq_chat_imports_uuid")),
    )
    op.create_index(op.f("ix_chat_imports_user_id"), "chat_imports", ["user_id"])
    op.create_index(op.f("ix_chat_imports_created_at"), "chat_imports", ["created_at"])
    op.create_index(
        op.f("uq_chat_imports_user_id_running"),
        "chat_imports",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "imported_sessions",
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("octet_length(fingerprint) = 32", name=op.f("ck_imported_sessions_fingerprint_is_sha256")),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.id"],
            name=op.f("fk_imported_sessions_session_id_chat_sessions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_imported_sessions_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_imported_sessions")),
        sa.UniqueConstraint("user_id", "fingerprint", name=op.f("uq_imported_sessions_user_id_fingerprint")),
    )


def downgrade() -> None:
    """Undo. Imported sessions stay; importing them again stores them again."""
    op.drop_table("imported_sessions")
    op.drop_table("chat_imports")
