"""Response schemas of the system status."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from app.core.schema_types import ResponseModel


class MigrationState(ResponseModel):
    """Migration state of the database schema."""

    needed: str = Field(description="Revision that this service requires.")
    applied: str | None = Field(description="Revision of the database schema.")
    is_current: bool = Field(description="Whether both revisions are the same.")


class DatabaseState(ResponseModel):
    """State of the PostgreSQL server."""

    version: str = Field(description="Version of PostgreSQL.")
    connections: int = Field(description="Connections of all clients to this database.")
    max_connections: int = Field(description="Maximum number of connections of the server, for all databases.")


class RedisState(ResponseModel):
    """State of Redis, as seen by this process. All other fields are null while it is unavailable."""

    status: Literal["up", "down"] = Field(description="Whether Redis responds.")
    version: str | None = Field(None, description="Version of Redis.")
    used_memory_bytes: int | None = Field(None, description="Memory in use, in bytes.")
    clients: int | None = Field(None, description="Number of connected clients.")


class InstanceState(ResponseModel):
    """Service process, as of its last heartbeat."""

    instance_id: UUID = Field(description="Random id of the process, new at each start.")
    service: Literal["auth", "chat", "admin", "worker"] = Field(description="Service of the process.")
    version: str = Field(description="Version of its code.")
    host: str = Field(description="Host name; in a container, the container id.")
    pid: int = Field(description="Number of the process on its host.")
    status: Literal["up", "lost"] = Field(
        description="`lost`: no heartbeat for half a minute. The process was killed, hangs, or cannot reach PostgreSQL."
    )
    started_at: datetime = Field(description="Start of the process.")
    seen_at: datetime = Field(description="Time of the last heartbeat.")
    state: dict[str, Any] = Field(
        description="Statistics of the process, such as `database`: connections `in_use`, `free` and `max`. `redis`: "
        "whether its circuit breaker is open, and the number of outages. Chat service: `models` (circuit breakers: "
        "`closed`, `open` or `half_open`), `model_providers`, `model_parameters` (parameters that a model does not "
        "support, with their other name, or null if they are not sent), running `turns` and open `streams`. Worker: "
        "`webhooks`, running deliveries and attempts by outcome.",
        examples=[{"database": {"in_use": 1, "free": 4, "max": 50}, "redis": {"is_away": False, "outages": 0}}],
    )


class QueueState(ResponseModel):
    """Number of waiting items in a queue."""

    waiting: int = Field(description="Number of waiting items, counted up to 10 000.")
    oldest_at: datetime | None = Field(
        description="Time since when the oldest item has been waiting. Null: no items, or not known."
    )


class JobState(ResponseModel):
    """Worker job, with statistics of all workers together."""

    name: str = Field(description="Name of the job.")
    status: Literal["healthy", "failing", "overdue"] = Field(
        description="`failing`: the last run failed. `overdue`: several runs were missed, check the worker."
    )
    interval_seconds: float = Field(description="Average pause between two runs in each worker, in seconds.")
    rounds: int = Field(description="Number of runs, including failed ones.")
    failures: int = Field(description="Number of failed runs.")
    handled: int = Field(description="Number of items processed in all runs.")
    started_at: datetime | None = Field(description="Start of the last run.")
    instance_id: UUID = Field(description="Worker that started the last run.")
    finished_at: datetime | None = Field(description="End of the last successful run.")
    duration_ms: int | None = Field(description="Duration of the last successful run, in milliseconds.")
    last_handled: int | None = Field(description="Number of items processed in the last successful run.")
    failed_at: datetime | None = Field(description="End of the last failed run.")
    error: str | None = Field(description="Class name of the last error.")


class SystemState(ResponseModel):
    """Status of the system."""

    generated_at: datetime = Field(description="Time at which the response was computed.")
    version: str = Field(description="Version of this service.")
    migrations: MigrationState = Field(description="Migrations of the database.")
    database: DatabaseState = Field(description="State of PostgreSQL.")
    redis: RedisState = Field(description="State of Redis.")
    instances: list[InstanceState] = Field(description="Processes of the services and workers.")
    queues: dict[str, QueueState] = Field(
        description="`active_turns`: answers being generated. `abandoned_turns`: those whose lease has expired. "
        "`usage_pending`: ledger rows that are not rolled up yet. `search_pending`: texts that are not indexed yet. "
        "`webhook_deliveries`: pending deliveries to enabled endpoints. `outgoing_mails`: emails to send. "
        "`quota_reservations`: those of running turns. `idempotency_keys`: stored keys. `expired_idempotency_keys`: "
        "keys to be purged."
    )
    jobs: list[JobState] = Field(description="Worker jobs.")
