"""webhook secrets of several rotations, each valid until its own expiry"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Apply. The previous release ignores the column: while it runs, a second rotation ends the oldest secret."""
    op.add_column(
        "webhook_endpoints",
        sa.Column("earlier_secrets_until", JSONB(), server_default=sa.text("'{}'"), nullable=False),
    )


def downgrade() -> None:
    """Undo. Of the replaced secrets, the last one stays valid until its expiry."""
    op.drop_column("webhook_endpoints", "earlier_secrets_until")
