"""costs, append-only ledger, usage by hour"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_COUNTERS = ("calls", "turns", "ok", "cancelled", "fallback", "cached", "estimated", "unpriced", "prompt_tokens")

# The only permitted change sets the references to the account and the session to null, for the erasure of an account.
_REFUSE_CHANGES = """
CREATE FUNCTION llm_calls_refuse_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        OLD.user_id := NULL;
        OLD.session_id := NULL;
        IF NEW IS NOT DISTINCT FROM OLD THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'llm_calls is append-only' USING ERRCODE = 'insufficient_privilege';
END $$
"""
_TRIGGERS = {
    "llm_calls_append_only": "BEFORE DELETE OR TRUNCATE ON llm_calls FOR EACH STATEMENT",
    "llm_calls_update_anonymises": "BEFORE UPDATE ON llm_calls FOR EACH ROW",
}
# Queues every new row of the ledger for the roll-up.
_QUEUE = """
CREATE FUNCTION llm_calls_queue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_pending (call_id) SELECT id FROM added;
    RETURN NULL;
END $$
"""
_QUEUE_TRIGGER = """
CREATE TRIGGER llm_calls_queue AFTER INSERT ON llm_calls REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION llm_calls_queue()
"""


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "llm_calls", sa.Column("purpose", sa.String(length=20), server_default=sa.text("'answer'"), nullable=False)
    )
    op.add_column("llm_calls", sa.Column("fallback_reason", sa.String(length=50), nullable=True))
    op.create_check_constraint(op.f("ck_llm_calls_purpose"), "llm_calls", "purpose IN ('answer', 'summary')")
    op.create_check_constraint(
        op.f("ck_llm_calls_reason_of_fallback"), "llm_calls", "fallback_reason IS NULL OR is_fallback"
    )
    op.create_check_constraint(op.f("ck_llm_calls_cost_usd"), "llm_calls", "cost_usd >= 0")
    op.create_index(
        "ix_llm_calls_session_id",
        "llm_calls",
        ["session_id"],
        unique=False,
        postgresql_where=sa.text("session_id IS NOT NULL"),
    )
    op.create_table(
        "usage_pending",
        sa.Column("call_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_usage_pending")),
    )
    op.create_table(
        "usage_hours",
        *_hour_columns(),
        sa.PrimaryKeyConstraint("hour", "model", "purpose", name=op.f("pk_usage_hours")),
    )
    op.create_table(
        "user_usage_hours",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        *_hour_columns(),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_user_usage_hours_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "hour", "model", "purpose", name=op.f("pk_user_usage_hours")),
    )
    op.execute(_REFUSE_CHANGES)
    for name, when in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION llm_calls_refuse_changes()")
        # ALWAYS: the trigger also fires in sessions with session_replication_role = replica.
        op.execute(f"ALTER TABLE llm_calls ENABLE ALWAYS TRIGGER {name}")
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON llm_calls FROM PUBLIC, CURRENT_USER")
    op.execute("GRANT UPDATE (user_id, session_id) ON llm_calls TO CURRENT_USER")
    op.execute(_QUEUE)
    op.execute(_QUEUE_TRIGGER)
    # Creating the trigger has locked the ledger until the end of this migration, so no row is missed or queued twice.
    op.execute("INSERT INTO usage_pending (call_id) SELECT id FROM llm_calls")


def downgrade() -> None:
    """Undo."""
    op.execute("DROP TRIGGER llm_calls_queue ON llm_calls")
    op.execute("DROP FUNCTION llm_calls_queue")
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON llm_calls")
    op.execute("DROP FUNCTION llm_calls_refuse_changes")
    op.execute("REVOKE UPDATE (user_id, session_id) ON llm_calls FROM CURRENT_USER")
    op.execute("GRANT UPDATE, DELETE, TRUNCATE ON llm_calls TO CURRENT_USER")
    op.drop_table("user_usage_hours")
    op.drop_table("usage_hours")
    op.drop_table("usage_pending")
    op.drop_index("ix_llm_calls_session_id", table_name="llm_calls", postgresql_where=sa.text("session_id IS NOT NULL"))
    for name in ("cost_usd", "reason_of_fallback", "purpose"):
        op.drop_constraint(op.f(f"ck_llm_calls_{name}"), "llm_calls", type_="check")
    op.drop_column("llm_calls", "fallback_reason")
    op.drop_column("llm_calls", "purpose")


def _hour_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        *(_counter(name) for name in _COUNTERS),
        _counter("completion_tokens"),
        sa.Column("cost_usd", sa.Numeric(precision=24, scale=9), server_default=sa.text("0"), nullable=False),
        _counter("latency_ms"),
    ]


def _counter(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
