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
    """`auth`, `chat`, `admin` or `worker`."""
    version: Mapped[str] = mapped_column(String(100))
    """Version of its code: `VERSION`."""
    host: Mapped[str] = mapped_column(String(255))
    """Host name; in a container, the container id."""
    pid: Mapped[int]
    """Number of the process on its host."""
    started_at: Mapped[datetime]
    """Start of the process."""
    seen_at: Mapped[datetime]
    """Last heartbeat. If it is older than 35 s, the process counts as lost: killed, or without PostgreSQL."""
    state: Mapped[dict[str, Any]]
    """Statistics of the process, such as `database` (connection pool) and `redis` (circuit breaker); of services also
    `requests`, of the auth service `hashing`, of the chat service `models` (circuit breakers) and what is in progress
    (`turns`, `streams` and others), of a worker `webhooks` (deliveries in progress).
    """

    __table_args__ = (CheckConstraint("service IN ('auth', 'chat', 'admin', 'worker')", name="service"),)
