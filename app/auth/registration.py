"""Registration of accounts."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.auth import webhook_events
from app.auth.email.outbox import EmailOutbox
from app.auth.email_policy import EmailPolicy
from app.auth.hashing_queue import HashingQueue
from app.auth.schemas.accounts import UserCreate
from app.config.registration import RegistrationMode
from app.core.exceptions import BadRequestError, FieldError, ForbiddenError
from app.core.link_tokens import LinkTokens
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.models import User
from app.database.repositories.accounts import invitations, users
from app.database.repositories.accounts.users import DuplicateUserError, NewUser
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import event_outbox


@dataclass(frozen=True, slots=True)
class RegistrationService:
    """Registers accounts."""

    database: Database
    hashing: HashingQueue
    outbox: EmailOutbox
    invitation_tokens: LinkTokens
    email_policy: EmailPolicy
    mode: RegistrationMode
    requires_verified_email: bool

    async def register(self, new: UserCreate, origin: RequestOrigin) -> User | None:
        """Create an account of role `user` and send the verification email, if email is enabled.

        With an invitation, the account has the role that the admin chose, and its address is verified.

        Returns None if addresses must be verified: the response is then the same, and takes the same time, whether or
        not the address is registered, and the result is sent to the address by email. The account gets its user name
        when the address is verified, because a name reserved at registration would reveal that the address was free.

        Raises:
            InvalidFieldError: the domain of the address is not accepted.
            ForbiddenError: registration needs an invitation.
            BadRequestError: the address or user name is taken, and addresses need not be verified; or the invitation is
                not valid.
            TooManyRequestsError: too many concurrent registrations from this network; or, if addresses must be
                verified, too many per hour, because each of them sends an email.
            ServiceUnavailableError: too many passwords are being hashed.

        """
        self.email_policy.require_accepted(new.email)
        if new.invitation is not None:
            return await self._register_invited(new, new.invitation, origin)
        self._require_open()
        # Before a connection is taken: hashing takes about 0.15 s, and longer when requests queue for it.
        async with self.hashing.slot(origin) as hasher:
            if self.requires_verified_email:
                async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                    await self.outbox.count_request(connection, origin)
            password_hash = await hasher.hash(new.password.get_secret_value())
        try:
            user = await self._create(new, password_hash, origin)
        except DuplicateUserError as error:
            if not self.requires_verified_email:
                raise already_registered_error(error.field) from error
            await self._notify_owner(new.email)
            return None
        self.outbox.wake()
        return None if self.requires_verified_email else user

    async def _register_invited(self, new: UserCreate, token: str, origin: RequestOrigin) -> User:
        try:
            invitation_uuid = self.invitation_tokens.verify(token)
        except ValueError:
            raise _invalid_invitation() from None
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            # Checked first, because hashing is expensive.
            if not await invitations.is_valid(connection, invitation_uuid, email=new.email):
                raise _invalid_invitation()
        async with self.hashing.slot(origin) as hasher:
            password_hash = await hasher.hash(new.password.get_secret_value())
        try:
            async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
                invitation = await invitations.consume(session, invitation_uuid, email=new.email)
                if invitation is None:
                    raise _invalid_invitation()
                account = NewUser(
                    email=new.email,
                    username=new.username,
                    password_hash=password_hash,
                    full_name=new.full_name or invitation.full_name,
                    role=invitation.role,
                    is_verified=True,  # the token was sent to the address
                )
                details = {"invitation": str(invitation.uuid), "role": invitation.role}
                return await self._store(session, account, origin, details)
        except DuplicateUserError as error:
            raise already_registered_error(error.field) from error

    def _require_open(self) -> None:
        if self.mode == "invitation":
            raise ForbiddenError("Registration requires an invitation.", code="invitation_required")
        if self.mode == "closed":
            raise ForbiddenError("Registration is closed.", code="registration_closed")

    async def _create(self, new: UserCreate, password_hash: str, origin: RequestOrigin) -> User:
        account = NewUser(email=new.email, username=new.username, password_hash=password_hash, full_name=new.full_name)
        if self.requires_verified_email:
            account = replace(account, username=f"user-{secrets.token_hex(8)}", requested_username=new.username)
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            user = await self._store(session, account, origin)
            await self.outbox.enqueue(session, "verify_email", user.email)
            return user

    async def _store(
        self,
        session: DatabaseSession,
        account: NewUser,
        origin: RequestOrigin,
        details: Mapping[str, str] | None = None,
    ) -> User:
        user = await users.create(session, account)
        entry = NewAuditEntry("user.registered", actor=user.uuid, target=user.uuid, details=details)
        await audit_log.record(session, entry, origin)
        await event_outbox.emit(session, webhook_events.user_registered(user))
        return user

    async def _notify_owner(self, address: str) -> None:
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            await self.outbox.enqueue(session, "already_registered", address)
        self.outbox.wake()


def _invalid_invitation() -> BadRequestError:
    return BadRequestError(
        "This invitation is invalid, used, revoked or expired, or it was sent to another address.",
        code="invalid_token",
    )


def already_registered_error(field: str) -> BadRequestError:
    """Return the error for an address or user name that belongs to another account."""
    return BadRequestError(
        f"This {field} is already registered.",
        code="already_registered",
        errors=(FieldError(f"body.{field}", "taken", "is already registered"),),
    )
