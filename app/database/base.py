"""Declarative base, naming convention and mixins of all models."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Identity, MetaData, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Explicit names, so that migrations can refer to a constraint without depending on PostgreSQL's generated names.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Declarative base. `datetime` maps to `timestamptz`, a dictionary to `jsonb`."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: DateTime(timezone=True), dict[str, Any]: JSONB}  # noqa: RUF012 - required by SQLAlchemy


class IdMixin:
    """Integer primary key, for use inside the database only. Clients see the `uuid` column."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True, sort_order=-1)
    """Internal key."""


class CreatedMixin:
    """Time of the insertion of the row."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=98)
    """Time of the insertion."""


class TimestampMixin(CreatedMixin):
    """Times of the insertion and of the last update of the row."""

    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now(), sort_order=99)
    """Time of the last change."""
