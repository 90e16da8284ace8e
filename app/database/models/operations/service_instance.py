"""The processes of the system, as each tells of itself."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class ServiceInstance(Base):
    """One process. It rewrites its row every few seconds, and removes it when it ends in good order."""

    __tablename__ = "service_instances"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """Made anew at each start."""
    service: Mapped[str] = mapped_column(String(20))
    version: Mapped[str] = mapped_column(String(100))
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    state: Mapped[dict[str, Any]]
    """Figures of this process alone: its pool, Redis as it sees it, what else its service counts."""

    __table_args__ = (CheckConstraint("service IN ('auth', 'chat', 'admin', 'worker')", name="service"),)
