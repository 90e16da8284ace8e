"""Table of worker job statistics."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class WorkerJob(Base):
    """Job statistics, added up over all workers. Those of a killed worker since its last heartbeat are missing."""

    __tablename__ = "worker_jobs"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    """Name of the job, as in `build_jobs` (`app/worker/jobs.py`) and in the log."""
    interval_seconds: Mapped[float]
    """Average pause between two runs in one worker."""
    rounds: Mapped[int] = mapped_column(BigInteger)
    """Number of runs, including failed ones."""
    failures: Mapped[int] = mapped_column(BigInteger)
    """Number of failed runs, including those that failed because PostgreSQL was unavailable."""
    handled: Mapped[int] = mapped_column(BigInteger)
    """Number of items processed in all runs."""
    started_at: Mapped[datetime | None]
    """Start of the last run."""
    instance_id: Mapped[UUID]
    """Worker that started the last run."""
    finished_at: Mapped[datetime | None]
    """End of the last successful run."""
    duration_ms: Mapped[int | None]
    """Duration of the last successful run in milliseconds."""
    last_handled: Mapped[int | None] = mapped_column(BigInteger)
    """Number of items processed in the last successful run."""
    failed_at: Mapped[datetime | None]
    """End of the last failed run."""
    error: Mapped[str | None] = mapped_column(String(100))
    """Class name of the last error."""

    __table_args__ = (CheckConstraint("failures BETWEEN 0 AND rounds AND handled >= 0", name="counts"),)
