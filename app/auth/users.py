"""Account updates and password resets by admins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.auth import webhook_events
from app.auth.email.outbox import EmailOutbox
from app.auth.schemas.accounts import AdminUserResponse, AdminUserUpdate
from app.core.exceptions import ConflictError, ForbiddenError, NotFoundError
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.models import User
from app.database.repositories.accounts import auth_sessions, users
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log, refusals
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import event_outbox

_AUDITED_FIELDS = ("role", "is_active", "is_verified")
"""Fields whose values the audit log contains. Others are personal data, and audit entries are never deleted."""


@dataclass(frozen=True, slots=True)
class UserService:
    """Updates accounts for admins."""

    database: Database
    outbox: EmailOutbox

    async def update(
        self, admin: Principal, user_uuid: UUID, update: AdminUserUpdate, origin: RequestOrigin
    ) -> AdminUserResponse:
        """Update an account. Disabling it ends its logins; enabling it again does not restore them.

        Raises:
            NotFoundError: the account does not exist.
            ConflictError: the update would leave no active admin.
            ForbiddenError: the caller was demoted after the request was authorized.

        """
        try:
            async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
                return AdminUserResponse.model_validate(await _update(session, admin, user_uuid, update, origin))
        except (ConflictError, ForbiddenError) as error:
            refused = NewAuditEntry(
                "user.updated",
                actor=admin.uuid,
                target=user_uuid,
                outcome="refused",
                details={"reason": error.code, "changed": sorted(update.model_fields_set)},
            )
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await refusals.record(connection, refused, origin)
            raise

    async def send_password_reset(self, admin: Principal, user_uuid: UUID, origin: RequestOrigin) -> None:
        """Send a password reset link to the owner of an account.

        Raises:
            NotFoundError: the account does not exist.
            ServiceUnavailableError: email is not configured.
            ConflictError: the account is disabled, so a link would not work.
            TooManyRequestsError: too many of these emails to this address.

        """
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            user = await users.find(session, user_uuid)
            if user is None:
                raise NotFoundError
            self.outbox.require_enabled()
            if not user.is_active:
                raise ConflictError("The account is disabled.", code="account_disabled")
            await self.outbox.enqueue_or_refuse(session, "reset_password", user.email)
            entry = NewAuditEntry("password.reset_requested", actor=admin.uuid, target=user.uuid)
            await audit_log.record(session, entry, origin)
        self.outbox.wake()


async def lock_admin(session: DatabaseSession, admin: Principal) -> Sequence[int]:
    """Lock all active admins, of which the caller must be one, and return their internal keys.

    Raises:
        ForbiddenError: the caller was demoted after the request was authorized.

    """
    admins = await users.lock_active_admins(session)
    if admin.id not in admins:
        raise ForbiddenError(code="admin_required")
    return admins


async def _update(
    session: DatabaseSession, admin: Principal, user_uuid: UUID, update: AdminUserUpdate, origin: RequestOrigin
) -> User:
    admins = await users.lock_active_admins(session)
    user = await users.find_and_lock(session, user_uuid)
    if user is None:
        raise NotFoundError
    changes = {name: value for name, value in update.model_dump().items() if value != getattr(user, name)}
    is_removal = changes.get("role") == "user" or changes.get("is_active") is False
    if is_removal and list(admins) == [user.id]:
        raise ConflictError("This is the last active admin.", code="last_admin")
    if admin.id not in admins:
        raise ForbiddenError(code="admin_required")
    if not changes:
        return user
    before = _select_audited(user)
    if changes.get("is_verified"):
        await users.set_verified(session, user.id)
    await users.change(session, user.id, changes)  # also updates `user`
    if "is_active" in changes:
        # Also when the account is enabled: a login that is still open must not become valid again.
        await auth_sessions.revoke_all(session, user_id=user.id, reason="disabled")
    details = {"changed": sorted(changes), "before": before, "after": _select_audited(user)}
    await audit_log.record(
        session, NewAuditEntry("user.updated", actor=admin.uuid, target=user.uuid, details=details), origin
    )
    await event_outbox.emit(session, webhook_events.user_updated(user, changes))
    return user


def _select_audited(user: User) -> dict[str, Any]:
    return {name: getattr(user, name) for name in _AUDITED_FIELDS}
