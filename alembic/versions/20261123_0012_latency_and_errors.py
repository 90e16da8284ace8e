"""latency and errors by 15 minutes"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Apply. The worker adds existing ledger rows later: see `repositories/usage/reconciliation.py`."""
    op.create_table(
        "latency_quarters",
        *_keys(),
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        _counter("latencies"),
        _counter("first_tokens"),
        sa.PrimaryKeyConstraint("quarter", "model", "purpose", "bucket", name=op.f("pk_latency_quarters")),
    )
    op.create_table(
        "error_quarters",
        *_keys(),
        sa.Column("error_code", sa.String(length=50), nullable=False),
        _counter("calls"),
        sa.PrimaryKeyConstraint("quarter", "model", "purpose", "error_code", name=op.f("pk_error_quarters")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("error_quarters")
    op.drop_table("latency_quarters")


def _keys() -> list[sa.Column[object]]:
    return [
        sa.Column("quarter", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
    ]


def _counter(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
