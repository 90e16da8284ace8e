"""usage, latency and errors by provider"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"

_TABLES = ("provider_usage_quarters", "provider_latency_quarters", "provider_error_quarters")
_COUNTERS = ("calls", "turns", "ok", "cancelled", "fallback", "cached", "estimated", "unpriced", "prompt_tokens")


def upgrade() -> None:
    """Apply. The worker adds existing ledger rows later: see `repositories/usage/reconciliation.py`."""
    usage, latency, errors = _TABLES
    op.create_table(
        usage,
        *_keys(),
        *(_counter(name) for name in _COUNTERS),
        _counter("completion_tokens"),
        sa.Column("cost_usd", sa.Numeric(precision=24, scale=9), server_default=sa.text("0"), nullable=False),
        _counter("latency_ms"),
        _primary_key(usage),
    )
    op.create_table(
        latency,
        *_keys(),
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        _counter("latencies"),
        _counter("first_tokens"),
        _primary_key(latency, "bucket"),
    )
    op.create_table(
        errors,
        *_keys(),
        sa.Column("error_code", sa.String(length=50), nullable=False),
        _counter("calls"),
        _primary_key(errors, "error_code"),
    )
    _allow_reconciliations("id IN (1, 2, 3, 4)")


def downgrade() -> None:
    """Undo."""
    op.execute("DELETE FROM usage_repair WHERE id = 4")
    _allow_reconciliations("id IN (1, 2, 3)")
    for table in reversed(_TABLES):
        op.drop_table(table)


def _allow_reconciliations(condition: str) -> None:
    op.drop_constraint(op.f("ck_usage_repair_known"), "usage_repair", type_="check")
    op.create_check_constraint(op.f("ck_usage_repair_known"), "usage_repair", condition)


def _keys() -> list[sa.Column[object]]:
    return [
        sa.Column("quarter", sa.DateTime(timezone=True), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
    ]


def _primary_key(table: str, *keys: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint("quarter", "provider", "model", "purpose", *keys, name=op.f(f"pk_{table}"))


def _counter(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
