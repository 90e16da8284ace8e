"""Table of running service processes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class ServiceInstance(Base):
    """Service process. Its heartbeat updates the row every few seconds; a graceful shutdown deletes it."""

    __tablename__ = "service_instances"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """Random, new at each start."""
    service: Mapped[str] = mapped_column(String(20))
    version: Mapped[str] = mapped_column(String(100))
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    state: Mapped[dict[str, Any]]
    """Statistics of the process: connection pool, circuit breaker of Redis, and those of its service."""

    __table_args__ = (CheckConstraint("service IN ('auth', 'chat', 'admin', 'worker')", name="service"),)
