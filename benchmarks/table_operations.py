"""Operations on the tables that grow: insertions of services, deletions in batches, and queries of admins."""

import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from sqlalchemy import text

from app.core.schema_types import new_id
from app.database.connection import Database
from app.database.repositories.audit import audit_log, audit_search
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.audit.audit_search import AuditCriteria, EntryPosition
from app.database.repositories.usage import ledger, totals
from app.database.repositories.usage.ledger import LedgerEntry
from app.database.repositories.webhooks import delivery_queue, endpoints, event_outbox
from app.database.repositories.webhooks.event_outbox import WebhookEvent
from benchmarks.table_data import EVENT_DATA, SESSIONS, SPAN, FilledCluster

_DELIVERY_BATCH: Final = 1000
_OWNER_BATCH: Final = 10_000
_PAGE: Final = 51
"""Rows that are read for a page of 50."""
_CALL: Final = LedgerEntry(
    attempt=1,
    model_requested="gpt-4o-mini",
    model_used="gpt-4o-mini-2024-07-18",
    is_fallback=False,
    status="ok",
    error_code=None,
    prompt_tokens=812,
    completion_tokens=325,
    is_estimated=False,
    latency_ms=7312,
)

Query = Callable[[], Awaitable[Any]]


class GrowingTable(ABC):
    """A filled table, and what services, workers and owners do with it."""

    name: str
    batch_size: int
    """Maximum number of rows that `delete_batch` deletes."""

    def __init__(self, cluster: FilledCluster, services: Database, owner: Database) -> None:
        """Take the cluster, and connections of the role of the services and of the owner."""
        self.cluster = cluster
        self._services = services
        self._owner = owner
        self._source = random.Random(1)  # noqa: S311 - not a secret
        self._accounts = cluster.rows("SELECT id, uuid FROM users")

    @abstractmethod
    async def insert(self) -> None:
        """Insert one row, as the services do."""

    @abstractmethod
    async def delete_batch(self) -> int:
        """Delete a batch of rows of the older half; return their number."""

    @abstractmethod
    def queries(self) -> Mapping[str, Query]:
        """Return the queries to measure by title. Their arguments differ from call to call."""

    def _account(self) -> tuple[int, Any]:
        internal, public = self._source.choice(self._accounts)
        return internal, public

    async def _delete_as_owner(self) -> int:
        """Delete a batch from an append-only table, as docs/how-to/audit-log.md describes."""
        table, trigger = self.name, f"{self.name}_append_only"
        expired = f"SELECT id FROM {table} WHERE created_at < now() - interval '{SPAN.days // 2} days'"  # noqa: S608 - no data of users
        batch = f"{expired} ORDER BY created_at LIMIT {self.batch_size}"
        deletion = f"DELETE FROM {table} WHERE id IN ({batch})"  # noqa: S608
        async with self._owner.transaction() as session:
            await session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}"))
            deleted: Any = await session.execute(text(deletion))
            await session.execute(text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"))
        return int(deleted.rowcount)


class AuditLog(GrowingTable):
    """The audit log, which its owner archives."""

    name = "audit_log"
    batch_size = _OWNER_BATCH

    async def insert(self) -> None:
        """Insert the entry of a login."""
        _, account = self._account()
        entry = NewAuditEntry("login.opened", actor=account, target=account)
        async with self._services.autocommit() as connection:
            await audit_log.record(connection, entry, RequestOrigin("10.1.2.3", None, new_id().hex))

    async def delete_batch(self) -> int:
        """Delete entries as the owner of the table."""
        return await self._delete_as_owner()

    def queries(self) -> Mapping[str, Query]:
        """Return the searches of `GET /admin/audit`."""
        middle = EntryPosition(
            *self.cluster.rows(
                "SELECT created_at, id FROM audit_log ORDER BY id OFFSET %s LIMIT 1", [self._count() // 2]
            )[0]
        )
        find = self._find
        return {
            "first page": lambda: find(AuditCriteria()),
            "by account": lambda: find(AuditCriteria(actor=self._account()[1])),
            "by target": lambda: find(AuditCriteria(target=self._account()[1])),
            "by frequent action": lambda: find(AuditCriteria(action="login.opened")),
            "by rare action": lambda: find(AuditCriteria(action="session.read")),
            "refused": lambda: find(AuditCriteria(outcome="refused")),
            "rare action of an account": lambda: find(AuditCriteria(actor=self._account()[1], action="session.read")),
            "page in the middle": lambda: find(AuditCriteria(), after=middle),
            "page in the middle, by account": lambda: find(AuditCriteria(actor=self._account()[1]), after=middle),
        }

    def _count(self) -> int:
        return int(self.cluster.value("SELECT count(*) FROM audit_log"))

    async def _find(self, criteria: AuditCriteria, after: EntryPosition | None = None) -> None:
        async with self._services.read_only() as session:
            await audit_search.find(session, criteria, after=after, limit=_PAGE)


class WebhookDeliveries(GrowingTable):
    """The webhook deliveries, which the worker deletes when they have expired."""

    name = "webhook_deliveries"
    batch_size = _DELIVERY_BATCH
    _deletion = delivery_queue.purge(age=SPAN / 2)

    async def insert(self) -> None:
        """Insert an event for one endpoint."""
        event = WebhookEvent("turn.completed", EVENT_DATA, user_id=self._account()[0])
        async with self._services.autocommit() as connection:
            await event_outbox.emit(connection, event)

    async def delete_batch(self) -> int:
        """Delete expired deliveries, as the worker does."""
        async with self._services.autocommit() as connection:
            return await self._deletion.delete_batch(connection, limit=self.batch_size)

    def queries(self) -> Mapping[str, Query]:
        """Return the lists of `GET /admin/webhooks/{id}/deliveries`."""
        keys = [key for (key,) in self.cluster.rows("SELECT id FROM webhook_endpoints ORDER BY id")]
        middle = {
            endpoint: self.cluster.value(
                "SELECT event_id FROM webhook_deliveries WHERE endpoint_id = %s AND created_at < now() - %s"
                " ORDER BY id DESC LIMIT 1",
                [endpoint, SPAN / 2],
            )
            for endpoint in keys
        }

        async def find(status: Any = None, *, is_in_middle: bool = False) -> None:  # noqa: ANN401 - a literal
            endpoint = self._source.choice(keys)
            after = middle[endpoint] if is_in_middle else None
            async with self._services.read_only() as session:
                await endpoints.list_deliveries(session, endpoint, status=status, after=after, limit=_PAGE)

        return {
            "first page": find,
            "failed": partial(find, "failed"),
            "pending": partial(find, "pending"),
            "page in the middle": partial(find, is_in_middle=True),
            "page in the middle, failed": partial(find, "failed", is_in_middle=True),
        }


class Ledger(GrowingTable):
    """The ledger, from which nothing deletes rows; the owner could, like those of the audit log."""

    name = "llm_calls"
    batch_size = _OWNER_BATCH

    async def insert(self) -> None:
        """Append the call of a direct question."""
        async with self._services.driver_connection() as connection:
            await ledger.record_calls(
                connection,
                turn_id=new_id(),
                user_id=self._account()[0],
                session_id=self._source.randrange(SESSIONS),
                calls=[_CALL],
            )

    async def delete_batch(self) -> int:
        """Delete calls as the owner of the table."""
        return await self._delete_as_owner()

    def queries(self) -> Mapping[str, Query]:
        """Return the queries of single objects. Those of reports read the roll-ups."""

        async def session_totals() -> None:
            async with self._services.read_only() as session:
                await totals.session_totals(session, self._source.randrange(SESSIONS))

        async def user_totals() -> None:
            async with self._services.read_only() as session:
                await totals.user_totals(session, self._account()[0])

        return {"usage of a session": session_totals, "usage of an account": user_totals}
