"""requested usernames, assigned when the email address is verified"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply."""
    op.add_column("users", sa.Column("requested_username", sa.String(length=50), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("users", "requested_username")
