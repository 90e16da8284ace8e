"""User accounts."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Numeric, String, Text, false, func, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, IdMixin, TimestampMixin


class User(IdMixin, TimestampMixin, Base):
    """A user account. Email address and username are unique regardless of case."""

    __tablename__ = "users"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id; the `sub` of access tokens."""
    email: Mapped[str] = mapped_column(String(254))
    """As the owner entered it; compared in lower case."""
    username: Mapped[str] = mapped_column(String(50))
    """Public name. It must not contain `@`, to be distinguishable from an email address at login."""
    requested_username: Mapped[str | None] = mapped_column(String(50))
    """Username given at registration. It becomes `username` when the email address is verified, if it is still free."""
    password_hash: Mapped[str] = mapped_column(Text)
    """Argon2id in the modular crypt format."""
    full_name: Mapped[str | None] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(20), server_default="user")
    """`user` or `admin`. Only the command line and admins change it."""
    is_active: Mapped[bool] = mapped_column(server_default=true())
    """False: the account cannot log in, and its tokens and API keys are refused."""
    is_verified: Mapped[bool] = mapped_column(server_default=false())
    """Whether the owner has verified the email address."""
    last_login: Mapped[datetime | None]
    preferences: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """Settings of the owner's clients. The services do not read them."""
    quota_tokens_per_day: Mapped[int | None] = mapped_column(BigInteger)
    """Quota of this account. Null: the default from the settings applies. 0: no limit."""
    quota_tokens_per_month: Mapped[int | None] = mapped_column(BigInteger)
    quota_cost_per_day: Mapped[Decimal | None] = mapped_column(Numeric(18, 9))
    """In US dollars."""
    quota_cost_per_month: Mapped[Decimal | None] = mapped_column(Numeric(18, 9))

    __table_args__ = (
        CheckConstraint("role IN ('user', 'admin')", name="role"),
        CheckConstraint("position('@' in username) = 0", name="username_is_no_address"),
        CheckConstraint("quota_tokens_per_day >= 0 AND quota_tokens_per_month >= 0", name="token_quotas"),
        CheckConstraint("quota_cost_per_day >= 0 AND quota_cost_per_month >= 0", name="cost_quotas"),
        Index("uq_users_email_lower", func.lower(email), unique=True),
        Index("uq_users_username_lower", func.lower(username), unique=True),
    )
