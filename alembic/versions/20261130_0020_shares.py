"""shared conversations"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "chat_shares",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("last_message_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("messages", postgresql.JSONB(), nullable=False),
        sa.Column("message_count", sa.Integer(), nullable=False),
        sa.Column("includes_models", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("message_count > 0", name=op.f("ck_chat_shares_message_count")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_chat_shares_user_id_users"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.id"],
            name=op.f("fk_chat_shares_session_id_chat_sessions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["last_message_id"],
            ["chat_messages.id"],
            name=op.f("fk_chat_shares_last_message_id_chat_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_shares")),
        sa.UniqueConstraint("session_id", name=op.f("uq_chat_shares_session_id")),
        sa.UniqueConstraint("uuid", name=op.f("uq_chat_shares_uuid")),
    )
    op.create_index(op.f("ix_chat_shares_last_message_id"), "chat_shares", ["last_message_id"], unique=False)
    op.create_index("ix_chat_shares_user_id_uuid", "chat_shares", ["user_id", "uuid"], unique=False)
    op.create_index("ix_chat_shares_expires_at", "chat_shares", ["expires_at"], unique=False)


def downgrade() -> None:
    """Undo."""
    op.drop_table("chat_shares")
