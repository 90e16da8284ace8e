"""index of attempt counters by what they count, in all networks"""

from alembic import op

revision = "0032"
down_revision = "0031"

_INDEX = "ix_login_throttles_key_without_network"


def upgrade() -> None:
    """Apply, without blocking writes."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_INDEX}")  # invalid, if an earlier run was interrupted
        op.execute(f"CREATE INDEX CONCURRENTLY {_INDEX} ON login_throttles (split_part(key, '@', 1))")


def downgrade() -> None:
    """Undo."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_INDEX}")
