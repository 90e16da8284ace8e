"""Audit entries about refusals that a client can cause at will, bounded in number."""

import math
from dataclasses import replace
from datetime import timedelta
from typing import Final, get_args
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.repositories.accounts import attempt_counters
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import AuditAction, NewAuditEntry, RequestOrigin

WINDOW: Final = timedelta(hours=1)
"""Period in which the refusals of an actor are counted. It starts with the first one."""
RECORDED_SINGLY: Final = 10
"""Number of refusals in a period that are all recorded. Of further ones each power of ten is: the 100th, the 1000th."""


async def record(connection: AsyncConnection, entry: NewAuditEntry, origin: RequestOrigin) -> None:
    """Insert an entry about a refusal of an authenticated actor, unless there were too many in this period.

    `details` has the number of refusals in the period, so none of them is unknown. The connection must commit each
    statement.
    """
    key = _counter_key(entry.action, entry.actor)
    refused = (await attempt_counters.count(connection, key, window=WINDOW)).attempts
    if refused <= RECORDED_SINGLY or math.log10(refused).is_integer():
        details = {**(entry.details or {}), "count": refused}
        await audit_log.record(connection, replace(entry, details=details), origin)


def counter_keys(actor: UUID) -> list[str]:
    """Return the keys of all counters that an account may have, to delete them with it."""
    return [_counter_key(action, actor) for action in get_args(AuditAction)]


def _counter_key(action: AuditAction, actor: UUID | None) -> str:
    return f"refused:{action}:{actor}"
