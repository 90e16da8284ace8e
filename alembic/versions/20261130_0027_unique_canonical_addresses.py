"""canonical forms of existing accounts, and their uniqueness"""

import logging

from alembic import op

from app.database import derived_forms

revision = "0027"
down_revision = "0026"

logger = logging.getLogger("alembic.runtime.migration")

_INDEXES = {
    "uq_users_email_canonical": "users (email_canonical)",
    "uq_users_username_canonical": "users (username_canonical)",
    "uq_invitations_email_canonical": "invitations (email_canonical)",
}


def upgrade() -> None:
    """Apply. It may be interrupted, and continues when it is run again.

    The indexes are created first: of accounts whose addresses or names have the same form, the oldest one gets it. The
    others are logged; `python -m app.cli account-collisions` lists them.
    """
    with op.get_context().autocommit_block():
        for name, columns in _INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {columns}")
        derived_forms.fill(op.get_bind())
        for collision in derived_forms.find_collisions(op.get_bind()):
            logger.warning("%s", collision)


def downgrade() -> None:
    """Undo."""
    with op.get_context().autocommit_block():
        for name in _INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
