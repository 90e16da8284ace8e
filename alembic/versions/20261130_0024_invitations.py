"""invitations to register, and their emails"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

_OLD_KINDS = "kind IN ('verify_email', 'reset_password', 'already_registered', 'password_changed')"
_KINDS = "kind IN ('verify_email', 'reset_password', 'already_registered', 'password_changed', 'invitation')"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "invitations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("full_name", sa.String(length=200), nullable=True),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('user', 'admin')", name=op.f("ck_invitations_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("uuid", name=op.f("uq_invitations_uuid")),
    )
    op.create_index("uq_invitations_email_lower", "invitations", [sa.text("lower(email)")], unique=True)
    op.create_index(op.f("ix_invitations_expires_at"), "invitations", ["expires_at"])
    _replace_kinds(_KINDS)


def downgrade() -> None:
    """Undo. Invitations that are still to be sent are discarded."""
    op.execute("DELETE FROM outgoing_mails WHERE kind = 'invitation'")
    _replace_kinds(_OLD_KINDS)
    op.drop_table("invitations")


def _replace_kinds(condition: str) -> None:
    op.drop_constraint(op.f("ck_outgoing_mails_kind"), "outgoing_mails", type_="check")
    op.create_check_constraint(op.f("ck_outgoing_mails_kind"), "outgoing_mails", condition)
