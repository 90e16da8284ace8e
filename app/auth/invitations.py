"""Invitations to register, by admins."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.auth.email.outbox import EmailOutbox
from app.auth.email_policy import EmailPolicy
from app.auth.schemas.invitations import InvitationCreate, InvitationList, InvitationResponse
from app.auth.users import lock_admin
from app.core.exceptions import ConflictError, NotFoundError
from app.core.schema_types import Pagination
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.repositories.accounts import invitations, users
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.accounts.invitations import NewInvitation
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin


@dataclass(frozen=True, slots=True)
class InvitationService:
    """Creates, lists and revokes invitations."""

    database: Database
    outbox: EmailOutbox
    email_policy: EmailPolicy
    life: timedelta

    async def create(self, admin: Principal, new: InvitationCreate, origin: RequestOrigin) -> InvitationResponse:
        """Send an invitation to an address. It replaces an earlier one, whose link stops working.

        Raises:
            InvalidFieldError: the domain of the address is not accepted.
            ServiceUnavailableError: email is not configured.
            ConflictError: the address has an account.
            TooManyRequestsError: too many emails to this address.
            ForbiddenError: the caller was demoted after the request was authorized.

        """
        self.email_policy.require_accepted(new.email)
        self.outbox.require_enabled()
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            await lock_admin(session, admin)
            if await users.has_account(session, new.email):
                raise ConflictError("This address already has an account.", code="already_registered")
            stored = await invitations.replace(
                session, NewInvitation(email=new.email, role=new.role, full_name=new.full_name, life=self.life)
            )
            await self.outbox.enqueue_or_refuse(session, "invitation", new.email)
            entry = NewAuditEntry(
                "invitation.created", actor=admin.uuid, target=stored.uuid, details={"role": stored.role}
            )
            await audit_log.record(session, entry, origin)
            response = InvitationResponse.model_validate(stored)
        self.outbox.wake()
        return response

    async def list_page(self, session: DatabaseSession, *, page: int, size: int) -> InvitationList:
        """Return a page of the open invitations, newest first."""
        rows, total = await invitations.list_page(session, page=page, size=size)
        return InvitationList(
            invitations=[InvitationResponse.model_validate(row) for row in rows],
            pagination=Pagination.of(total=total, page=page, size=size),
        )

    async def revoke(
        self, session: DatabaseSession, admin: Principal, invitation_uuid: UUID, origin: RequestOrigin
    ) -> None:
        """Delete an invitation. Its link stops working at once.

        Raises:
            NotFoundError: there is no such invitation, or it was used or has expired.

        """
        if not await invitations.remove(session, invitation_uuid):
            raise NotFoundError
        entry = NewAuditEntry("invitation.deleted", actor=admin.uuid, target=invitation_uuid)
        await audit_log.record(session, entry, origin)
