"""usage of accounts by day"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_COUNTERS = ("calls", "turns", "ok", "cancelled", "fallback", "cached", "estimated", "unpriced", "prompt_tokens")


def upgrade() -> None:
    """Apply. The worker adds existing ledger rows later: see `repositories/usage/reconciliation.py`."""
    op.create_table(
        "user_usage_days",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.DateTime(timezone=True), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        *(_counter(name) for name in _COUNTERS),
        _counter("completion_tokens"),
        sa.Column("cost_usd", sa.Numeric(precision=24, scale=9), server_default=sa.text("0"), nullable=False),
        _counter("latency_ms"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_user_usage_days_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "day", "purpose", name=op.f("pk_user_usage_days")),
    )
    op.create_index("ix_user_usage_days_day", "user_usage_days", ["day"], unique=False)
    op.drop_constraint(op.f("ck_usage_repair_one"), "usage_repair", type_="check")
    op.create_check_constraint(op.f("ck_usage_repair_one"), "usage_repair", "id IN (1, 2)")


def downgrade() -> None:
    """Undo."""
    op.execute("DELETE FROM usage_repair WHERE id = 2")
    op.drop_constraint(op.f("ck_usage_repair_one"), "usage_repair", type_="check")
    op.create_check_constraint(op.f("ck_usage_repair_one"), "usage_repair", "id = 1")
    op.drop_table("user_usage_days")


def _counter(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
