"""The jobs of the workers, and how they went."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class WorkerJob(Base):
    """One job, by its name: the rounds of all workers together. A killed worker's last seconds are not in it."""

    __tablename__ = "worker_jobs"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    interval_seconds: Mapped[float]
    """About how long a worker waits from round to round."""
    rounds: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int] = mapped_column(BigInteger)
    """Rounds that failed, also because PostgreSQL was away."""
    handled: Mapped[int] = mapped_column(BigInteger)
    """How much there was to do, in all rounds together."""
    started_at: Mapped[datetime | None]
    """When a round last began."""
    instance_id: Mapped[UUID]
    """The worker that made it."""
    finished_at: Mapped[datetime | None]
    """When a round last ended well."""
    duration_ms: Mapped[int | None]
    """How long that one took."""
    last_handled: Mapped[int | None] = mapped_column(BigInteger)
    """How much that one had to do."""
    failed_at: Mapped[datetime | None]
    """When a round last failed."""
    error: Mapped[str | None] = mapped_column(String(100))
    """What kind of error that was."""

    __table_args__ = (CheckConstraint("failures BETWEEN 0 AND rounds AND handled >= 0", name="counts"),)
