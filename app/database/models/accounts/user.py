"""User accounts."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Numeric, String, Text, false, func, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.core.identity import MAX_CANONICAL_EMAIL_LENGTH
from app.database.base import Base, IdMixin, TimestampMixin


class User(IdMixin, TimestampMixin, Base):
    """A user account. Email address and username are unique in their canonical forms (`app.core.identity`).

    A trigger fills the columns with derived forms where they are ASCII and a statement does not set them: the previous
    release does not know the columns. `app.database.derived_forms` fills the others.
    """

    __tablename__ = "users"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id; the `sub` of access tokens."""
    email: Mapped[str] = mapped_column(String(254))
    """Email address, normalized: compatible characters unified, the part after `@` in lower case, the rest as the owner
    entered it; one of the two names for login.
    """
    email_canonical: Mapped[str | None] = mapped_column(String(MAX_CANONICAL_EMAIL_LENGTH))
    """Canonical form of the address, unique.

    Null: an older account has the same one, or the previous release has written the row; the account is then found by
    exactly the stored address.
    """
    email_folded: Mapped[str | None] = mapped_column(Text)
    """`email` in the form in which texts are searched (`app.core.text.fold`)."""
    username: Mapped[str] = mapped_column(String(50))
    """Public name in ASCII. It must not contain `@`, to be distinguishable from an email address at login."""
    username_canonical: Mapped[str | None] = mapped_column(Text)
    """Canonical form of the user name, unique; null as for the address."""
    requested_username: Mapped[str | None] = mapped_column(String(50))
    """User name requested at registration, if addresses must be verified.

    Until verification the account has a generated name, so that nothing reveals whether the registration created an
    account.
    """
    password_hash: Mapped[str] = mapped_column(Text)
    """Argon2id, with salt and parameters in one string."""
    full_name: Mapped[str | None] = mapped_column(String(200))
    """Optional, for display."""
    full_name_folded: Mapped[str | None] = mapped_column(Text)
    """`full_name` in the form in which texts are searched (`app.core.text.fold`)."""
    role: Mapped[str] = mapped_column(String(20), server_default="user")
    """`user` or `admin`; read on each request, so a change takes effect at once.

    Registration sets `user`, or the role of the invitation; `create-admin` sets `admin`.
    """
    is_active: Mapped[bool] = mapped_column(server_default=true())
    """False: the account cannot log in, and its tokens and API keys are refused. Set by admins."""
    is_verified: Mapped[bool] = mapped_column(server_default=false())
    """Whether the owner has verified the email address with a link sent to it; admins and `create-admin` set it too."""
    last_login: Mapped[datetime | None]
    """Set at each login."""
    preferences: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """Settings of the owner's clients, returned to the owner only.

    The services do not use them. Those of the web application have fixed names and values; missing and invalid ones
    count as not set.
    """
    quota_tokens_per_day: Mapped[int | None] = mapped_column(BigInteger)
    """Quotas of this account, set by admins. Null: the default of the settings (`QUOTA_*`); 0: no limit."""
    quota_tokens_per_month: Mapped[int | None] = mapped_column(BigInteger)
    """Quotas of this account, set by admins. Null: the default of the settings (`QUOTA_*`); 0: no limit."""
    quota_cost_per_day: Mapped[Decimal | None] = mapped_column(Numeric(18, 9))
    """The same in US dollars."""
    quota_cost_per_month: Mapped[Decimal | None] = mapped_column(Numeric(18, 9))
    """The same in US dollars."""

    __table_args__ = (
        CheckConstraint("role IN ('user', 'admin')", name="role"),
        CheckConstraint("position('@' in username) = 0", name="username_is_no_address"),
        CheckConstraint("quota_tokens_per_day >= 0 AND quota_tokens_per_month >= 0", name="token_quotas"),
        CheckConstraint("quota_cost_per_day >= 0 AND quota_cost_per_month >= 0", name="cost_quotas"),
        Index("uq_users_email_canonical", "email_canonical", unique=True),
        Index("uq_users_username_canonical", "username_canonical", unique=True),
        # For the previous release. `lower` depends on the locale of the database.
        Index("uq_users_email_lower", func.lower(email), unique=True),
        Index("uq_users_username_lower", func.lower(username), unique=True),
    )
