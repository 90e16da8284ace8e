"""Reading and changing the quotas of an account."""

from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from app.admin.schemas.quotas import QuotaUpdate
from app.core.exceptions import NotFoundError
from app.database.connection import DatabaseSession
from app.database.repositories.accounts import users
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.usage import quotas
from app.database.repositories.usage.quotas import Quota
from app.services.limits.quotas import QuotaService, QuotaStanding


async def get_quota(session: DatabaseSession, service: QuotaService, user_uuid: UUID) -> QuotaStanding:
    """Return the effective quotas of an account and their use.

    Raises:
        NotFoundError: the account does not exist.

    """
    user = await users.find(session, user_uuid)
    if user is None:
        raise NotFoundError
    return await service.get_standing(session, user.id)


async def change_quota(
    session: DatabaseSession,
    service: QuotaService,
    admin: Principal,
    user_uuid: UUID,
    update: QuotaUpdate,
    origin: RequestOrigin,
) -> QuotaStanding:
    """Set or reset an account's own quotas, from its next question on. Changes are recorded in the audit log.

    Raises:
        NotFoundError: the account does not exist.

    """
    user = await users.find(session, user_uuid)
    before = await quotas.lock_quota(session, user.id) if user else None
    if user is None or before is None:
        raise NotFoundError
    after = replace(before, **{name: getattr(update, name) for name in update.model_fields_set})
    if after != before:
        await quotas.set_quota(session, user.id, after)
        details = {"before": _audit_fields(before), "after": _audit_fields(after)}
        entry = NewAuditEntry("user.quota_changed", actor=admin.uuid, target=user_uuid, details=details)
        await audit_log.record(session, entry, origin)
    return await service.get_standing(session, user.id)


def _audit_fields(quota: Quota) -> dict[str, Any]:
    return {name: None if value is None else str(value) for name, value in asdict(quota).items()}
