"""conversation summaries"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply."""
    op.add_column("chat_sessions", sa.Column("summary", sa.Text(), nullable=True))
    op.add_column(
        "chat_sessions", sa.Column("summary_upto_seq", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("chat_sessions", sa.Column("summary_lease_expires_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(
        op.f("ck_chat_sessions_summary_upto_seq"), "chat_sessions", "summary_upto_seq BETWEEN 0 AND last_seq"
    )


def downgrade() -> None:
    """Undo."""
    op.drop_constraint(op.f("ck_chat_sessions_summary_upto_seq"), "chat_sessions", type_="check")
    op.drop_column("chat_sessions", "summary_lease_expires_at")
    op.drop_column("chat_sessions", "summary_upto_seq")
    op.drop_column("chat_sessions", "summary")
