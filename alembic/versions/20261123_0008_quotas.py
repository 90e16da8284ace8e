"""quotas and quota reservations"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_TOKENS = ("quota_tokens_per_day", "quota_tokens_per_month")
_COSTS = ("quota_cost_per_day", "quota_cost_per_month")


def upgrade() -> None:
    """Apply."""
    for name in _TOKENS:
        op.add_column("users", sa.Column(name, sa.BigInteger(), nullable=True))
    for name in _COSTS:
        op.add_column("users", sa.Column(name, sa.Numeric(precision=18, scale=9), nullable=True))
    op.create_check_constraint(op.f("ck_users_token_quotas"), "users", " AND ".join(f"{name} >= 0" for name in _TOKENS))
    op.create_check_constraint(op.f("ck_users_cost_quotas"), "users", " AND ".join(f"{name} >= 0" for name in _COSTS))
    op.create_table(
        "quota_reservations",
        sa.Column("turn_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=18, scale=9), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("tokens >= 0 AND cost_usd >= 0", name=op.f("ck_quota_reservations_amounts")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_quota_reservations_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("turn_id", name=op.f("pk_quota_reservations")),
    )
    op.create_index(op.f("ix_quota_reservations_expires_at"), "quota_reservations", ["expires_at"], unique=False)
    op.create_index(
        "ix_quota_reservations_user_id_expires_at", "quota_reservations", ["user_id", "expires_at"], unique=False
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("quota_reservations")
    for name in ("cost_quotas", "token_quotas"):
        op.drop_constraint(op.f(f"ck_users_{name}"), "users", type_="check")
    for name in (*_COSTS, *_TOKENS):
        op.drop_column("users", name)
