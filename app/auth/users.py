"""Accounts as admins see and change them."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.auth import webhook_events
from app.auth.schemas.accounts import AdminUserResponse, AdminUserUpdate
from app.core.exceptions import ConflictError, ForbiddenError, NotFoundError
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.models import User
from app.database.repositories.accounts import auth_sessions, users
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import event_outbox

# Of other fields the log names only that they changed: they are personal, and it cannot forget.
_LOGGED_FIELDS = ("role", "is_active", "is_verified")


@dataclass(frozen=True, slots=True)
class UserService:
    """Decides what admins may do to accounts."""

    database: Database

    async def update(
        self, admin: Principal, user_uuid: UUID, wanted: AdminUserUpdate, origin: RequestOrigin
    ) -> AdminUserResponse:
        """Change an account. Disabling it ends its logins, and enabling it again does not bring them back.

        Raises:
            NotFoundError: there is no such account.
            ConflictError: no admin would be left.
            ForbiddenError: the caller has stopped being an admin since the request began.

        """
        try:
            async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
                return AdminUserResponse.model_validate(await _update(session, admin, user_uuid, wanted, origin))
        except (ConflictError, ForbiddenError) as error:
            refused = NewAuditEntry(
                "user.updated",
                actor=admin.uuid,
                target=user_uuid,
                outcome="refused",
                details={"reason": error.code, "changed": sorted(wanted.model_fields_set)},
            )
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await audit_log.record(connection, refused, origin)
            raise


async def _update(
    session: DatabaseSession, admin: Principal, user_uuid: UUID, wanted: AdminUserUpdate, origin: RequestOrigin
) -> User:
    admins = await users.lock_active_admins(session)
    user = await users.find_and_lock(session, user_uuid)
    if user is None:
        raise NotFoundError
    changes = {name: value for name, value in wanted.model_dump().items() if value != getattr(user, name)}
    is_removal = changes.get("role") == "user" or changes.get("is_active") is False
    if is_removal and list(admins) == [user.id]:
        raise ConflictError("The last active admin must stay one.", code="last_admin")
    if admin.id not in admins:
        raise ForbiddenError(code="admin_required")
    if not changes:
        return user
    before = _logged(user)
    if changes.get("is_verified"):
        await users.set_verified(session, user.id)
    await users.change(session, user.id, changes)  # in this object too
    if "is_active" in changes:
        # On enabling too: none comes back to life, whoever had disabled the account, and however.
        await auth_sessions.revoke_all(session, user_id=user.id, reason="disabled")
    details = {"changed": sorted(changes), "before": before, "after": _logged(user)}
    await audit_log.record(
        session, NewAuditEntry("user.updated", actor=admin.uuid, target=user.uuid, details=details), origin
    )
    await event_outbox.emit(session, webhook_events.updated(user, changes))
    return user


def _logged(user: User) -> dict[str, Any]:
    return {name: getattr(user, name) for name in _LOGGED_FIELDS}
