"""The quotas of one account, as admins see and change them."""

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
    """Return where an account stands.

    Raises:
        NotFoundError: there is no such account.

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
    wanted: QuotaUpdate,
    origin: RequestOrigin,
) -> QuotaStanding:
    """Give an account quotas of its own, or those of everybody again. They hold from its next question on.

    Raises:
        NotFoundError: there is no such account.

    """
    user = await users.find(session, user_uuid)
    before = await quotas.lock_quota(session, user.id) if user else None
    if user is None or before is None:
        raise NotFoundError
    after = replace(before, **{name: getattr(wanted, name) for name in wanted.model_fields_set})
    if after != before:
        await quotas.set_quota(session, user.id, after)
        details = {"before": _logged(before), "after": _logged(after)}
        entry = NewAuditEntry("user.quota_changed", actor=admin.uuid, target=user_uuid, details=details)
        await audit_log.record(session, entry, origin)
    return await service.get_standing(session, user.id)


def _logged(quota: Quota) -> dict[str, Any]:
    return {name: None if value is None else str(value) for name, value in asdict(quota).items()}
