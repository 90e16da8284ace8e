"""state of the reconciliation of roll-ups with the ledger"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "usage_repair",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("upto", sa.DateTime(timezone=True), server_default=sa.text("'-infinity'"), nullable=False),
        sa.Column("passes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_usage_repair_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_repair")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("usage_repair")
