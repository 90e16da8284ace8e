"""usage by 15 minutes"""

from alembic import op

revision = "0009"
down_revision = "0008"

_COLUMNS = """
    model, purpose, calls, turns, ok, cancelled, fallback, cached, estimated, unpriced, prompt_tokens,
    completion_tokens, cost_usd, latency_ms
"""


def upgrade() -> None:
    """Apply."""
    # First, because the roll-ups stay readable while the index is built. Renaming a table blocks readers until commit.
    op.create_index("ix_user_usage_quarters_quarter", "user_usage_hours", ["hour"], unique=False)
    for table in ("usage", "user_usage"):
        op.rename_table(f"{table}_hours", f"{table}_quarters")
        op.alter_column(f"{table}_quarters", "hour", new_column_name="quarter")
        op.execute(f"ALTER TABLE {table}_quarters RENAME CONSTRAINT pk_{table}_hours TO pk_{table}_quarters")
    op.execute(
        "ALTER TABLE user_usage_quarters"
        " RENAME CONSTRAINT fk_user_usage_hours_user_id_users TO fk_user_usage_quarters_user_id_users"
    )
    # Services and workers of the previous release continue to read and write these views.
    for table, keys in (("usage", ""), ("user_usage", "user_id, ")):
        op.execute(f"CREATE VIEW {table}_hours AS SELECT {keys}quarter AS hour, {_COLUMNS} FROM {table}_quarters")  # noqa: S608 - constant names


def downgrade() -> None:
    """Undo. Rows keep the granularity of 15 minutes: the previous release adds up the rows of an hour."""
    for table in ("usage", "user_usage"):
        op.execute(f"DROP VIEW {table}_hours")
        op.rename_table(f"{table}_quarters", f"{table}_hours")
        op.alter_column(f"{table}_hours", "quarter", new_column_name="hour")
        op.execute(f"ALTER TABLE {table}_hours RENAME CONSTRAINT pk_{table}_quarters TO pk_{table}_hours")
    op.execute(
        "ALTER TABLE user_usage_hours"
        " RENAME CONSTRAINT fk_user_usage_quarters_user_id_users TO fk_user_usage_hours_user_id_users"
    )
    op.drop_index("ix_user_usage_quarters_quarter", table_name="user_usage_hours")
