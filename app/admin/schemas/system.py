"""What `/system` shows."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from app.core.types import ResponseModel


class MigrationState(ResponseModel):
    """The schema of the database."""

    needed: str = Field(description="What this service's code is made for.")
    applied: str | None
    is_current: bool


class DatabaseState(ResponseModel):
    """PostgreSQL."""

    version: str
    connections: int = Field(description="To this database, of all processes.")
    max_connections: int = Field(description="That the server accepts, of all its databases.")


class RedisState(ResponseModel):
    """Redis, as this process finds it just now. All figures are null while it is away."""

    status: Literal["up", "down"]
    version: str | None = None
    used_memory_bytes: int | None = None
    clients: int | None = None


class InstanceState(ResponseModel):
    """A process, as it told of itself a few seconds ago."""

    instance_id: UUID
    service: Literal["auth", "chat", "admin", "worker"]
    version: str
    host: str
    pid: int
    status: Literal["up", "lost"] = Field(
        description="`lost`: not heard of for half a minute. It died, hangs, or cannot reach PostgreSQL."
    )
    started_at: datetime
    seen_at: datetime
    state: dict[str, Any] = Field(
        description="Its own figures. `database`: connections `in_use`, `free`, and `max` that may be. `redis`: "
        "whether it takes it for away, and how often it was. Of the chat service `models` (`closed`, `open` or "
        "`half_open`), `turns` and `streams` under way; of a worker `webhooks`: deliveries under way.",
        examples=[{"database": {"in_use": 1, "free": 4, "max": 50}, "redis": {"is_away": False, "outages": 0}}],
    )


class QueueState(ResponseModel):
    """What waits to be done."""

    waiting: int = Field(description="At most 10 000 are counted.")
    oldest_at: datetime | None = Field(description="Since when the first of them waits, where that is known.")


class JobState(ResponseModel):
    """A job of the workers, all of them together."""

    name: str
    status: Literal["healthy", "failing", "overdue"] = Field(
        description="`failing`: the last round failed. `overdue`: no round has begun for long; is there a worker?"
    )
    interval_seconds: float = Field(description="From round to round, about, of each worker.")
    rounds: int
    failures: int
    handled: int = Field(description="How much there was to do, in all rounds together.")
    started_at: datetime | None = Field(description="When the last round began.")
    instance_id: UUID = Field(description="The worker that made it.")
    finished_at: datetime | None = Field(description="When one last ended well.")
    duration_ms: int | None = Field(description="How long that one took.")
    last_handled: int | None = Field(description="How much that one had to do.")
    failed_at: datetime | None = Field(description="When one last failed.")
    error: str | None = Field(description="The kind of that failure.")


class SystemState(ResponseModel):
    """The system, from all its processes."""

    generated_at: datetime
    version: str = Field(description="Of this service.")
    migrations: MigrationState
    database: DatabaseState
    redis: RedisState
    instances: list[InstanceState]
    queues: dict[str, QueueState] = Field(
        description="`active_turns` are being answered; of them `abandoned_turns` belong to processes that have died. "
        "`usage_pending` is not in the sums yet. `webhook_deliveries` are those to enabled endpoints. "
        "`expired_idempotency_keys` wait to be removed."
    )
    jobs: list[JobState]
