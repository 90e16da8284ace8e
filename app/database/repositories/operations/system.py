"""System status queries: PostgreSQL server, queues, service processes and worker jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Integer,
    Select,
    bindparam,
    cast,
    column,
    func,
    literal,
    literal_column,
    null,
    select,
    table,
    text,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import SQLColumnExpression
from sqlalchemy.types import Interval

from app.database.models import (
    ChatMessage,
    IdempotencyKey,
    LlmCall,
    OutgoingMail,
    QuotaReservation,
    SearchPending,
    ServiceInstance,
    UsagePending,
    WebhookDelivery,
    WebhookEndpoint,
    WorkerJob,
)
from app.database.repositories.turns.turn_sql import IS_ACTIVE

MAX_COUNTED = 10_000
"""Maximum number of rows counted in a queue, because counting a long queue is slow."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """State of the PostgreSQL server."""

    now: datetime
    version: str
    connections: int
    """Connections of all clients to this database."""
    max_connections: int


@dataclass(frozen=True, slots=True)
class Queue:
    """Number of waiting rows in a queue."""

    name: str
    waiting: int
    """At most `MAX_COUNTED`."""
    oldest_at: datetime | None
    """Time since when the oldest row has been waiting; None: no rows, or not known."""


_ACTIVITY = table("pg_stat_activity", column("datname"))
_SERVER = select(
    func.now().label("now"),
    func.current_setting("server_version").label("version"),
    select(func.count())
    .select_from(_ACTIVITY)
    .where(_ACTIVITY.c.datname == func.current_database())
    .scalar_subquery()
    .label("connections"),
    cast(func.current_setting("max_connections"), Integer).label("max_connections"),
)


def _queue(name: str, since: SQLColumnExpression[Any], rows: Select[Any]) -> Select[str, int, Any]:
    counted = rows.with_only_columns(since.label("since"), maintain_column_froms=True).limit(MAX_COUNTED).subquery()
    return select(
        literal(name).label("name"), func.count().label("waiting"), func.min(counted.c.since).label("oldest_at")
    )


_active_answers = select(ChatMessage).where(IS_ACTIVE)
_QUEUES = union_all(
    _queue("active_turns", ChatMessage.created_at, _active_answers),
    _queue(
        "abandoned_turns",
        ChatMessage.lease_expires_at,
        _active_answers.where(ChatMessage.lease_expires_at < func.now()),
    ),
    _queue(
        "usage_pending",
        LlmCall.created_at,
        select(UsagePending).join(LlmCall, LlmCall.id == UsagePending.call_id).order_by(UsagePending.call_id),
    ),
    _queue("search_pending", SearchPending.created_at, select(SearchPending).order_by(SearchPending.id)),
    _queue(
        "webhook_deliveries",
        WebhookDelivery.created_at,
        # Only of enabled endpoints: the others are not delivered.
        select(WebhookDelivery)
        .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
        .where(WebhookDelivery.status == literal_column("'pending'"), WebhookEndpoint.is_enabled),
    ),
    _queue("outgoing_mails", OutgoingMail.created_at, select(OutgoingMail).order_by(OutgoingMail.id)),
    _queue(
        "expired_idempotency_keys",
        IdempotencyKey.expires_at,
        select(IdempotencyKey).where(IdempotencyKey.expires_at < func.now()).order_by(IdempotencyKey.expires_at),
    ),
    _queue("idempotency_keys", IdempotencyKey.created_at, select(IdempotencyKey).order_by(IdempotencyKey.id)),
    _queue("quota_reservations", null().cast(WorkerJob.started_at.type), select(QuotaReservation)),
)
_INSTANCES = select(
    ServiceInstance, (ServiceInstance.seen_at < func.now() - bindparam("p_silence", type_=Interval)).label("is_lost")
).order_by(ServiceInstance.service, ServiceInstance.started_at, ServiceInstance.id)


async def read_server(session: AsyncSession) -> ServerInfo:
    """Return the state of the PostgreSQL server."""
    return ServerInfo(**(await session.execute(_SERVER)).one()._asdict())


async def read_queues(session: AsyncSession) -> list[Queue]:
    """Return the lengths of all queues."""
    return [Queue(**row._asdict()) for row in await session.execute(_QUEUES)]


async def list_instances(session: AsyncSession, *, silence: timedelta) -> Sequence[tuple[ServiceInstance, bool]]:
    """Return the registered processes, each with a flag whether its last heartbeat is older than `silence`."""
    rows = await session.execute(_INSTANCES, {"p_silence": silence})
    return [(row[0], row[1]) for row in rows]


async def list_jobs(session: AsyncSession) -> Sequence[WorkerJob]:
    """Return the worker jobs, ordered by name."""
    return (await session.scalars(select(WorkerJob).order_by(WorkerJob.name))).all()


async def applied_migration(session: AsyncSession) -> str | None:
    """Return the migration revision of the schema; None if no migration has been applied."""
    revision: str | None = await session.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
