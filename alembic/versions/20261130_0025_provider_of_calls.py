"""provider of model calls"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Apply. Rows of earlier releases have no provider."""
    op.add_column("llm_calls", sa.Column("provider", sa.String(length=50), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("llm_calls", "provider")
