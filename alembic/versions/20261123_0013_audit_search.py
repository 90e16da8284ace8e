"""indexes for searching the audit log by action and outcome"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_audit_log_action_created_at", "audit_log", ["action", "created_at"], unique=False)
    op.create_index(
        "ix_audit_log_refused_created_at",
        "audit_log",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("outcome = 'refused'"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_audit_log_refused_created_at", table_name="audit_log")
    op.drop_index("ix_audit_log_action_created_at", table_name="audit_log")
