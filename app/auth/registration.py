"""Registration and passwords."""

import secrets
from dataclasses import dataclass, replace

from app.auth import webhook_events
from app.auth.email.outbox import EmailOutbox
from app.auth.logins import LoginService
from app.auth.schemas.accounts import UserCreate
from app.core.client_network import client_network
from app.core.exceptions import BadRequestError, ConflictError, FieldError
from app.core.passwords import PasswordHasher
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.models import User
from app.database.repositories.accounts import auth_sessions, credentials, one_time_tokens, users
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.accounts.users import DuplicateUserError, NewUser
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import event_outbox


@dataclass(frozen=True, slots=True)
class RegistrationService:
    """Decides who gets an account, and with which password."""

    database: Database
    passwords: PasswordHasher
    logins: LoginService
    outbox: EmailOutbox
    requires_verified_email: bool

    async def register(self, new: UserCreate, origin: RequestOrigin) -> User | None:
        """Create an account of role `user`, and have its address verified where mail is on.

        None where addresses must be verified: then the answer is always the same, after the same time, and whoever
        reads the mail of the address learns what became of it. The account gets its name when the address is verified:
        a name that is taken from now on would tell that the address was free.

        Raises:
            BadRequestError: address or name is taken, where addresses need not be verified.
            TooManyRequestsError: too many at once from this network, or, where they must be, in an hour: each of them
                sends a mail.

        """
        if self.requires_verified_email:
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await self.outbox.check_network(connection, origin)
        # Hashed before a connection is taken: it takes a tenth of a second, or longer in a queue.
        with self.logins.hashing_limiter.slot(client_network(origin.ip)):
            password_hash = await self.passwords.hash(new.password.get_secret_value())
        try:
            user = await self._create(new, password_hash, origin)
        except DuplicateUserError as error:
            if not self.requires_verified_email:
                raise already_registered_error(error.field) from error
            await self._tell_owner(new.email)
            return None
        self.outbox.wake()
        return None if self.requires_verified_email else user

    async def _create(self, new: UserCreate, password_hash: str, origin: RequestOrigin) -> User:
        account = NewUser(email=new.email, username=new.username, password_hash=password_hash, full_name=new.full_name)
        if self.requires_verified_email:
            account = replace(account, username=f"user-{secrets.token_hex(8)}", requested_username=new.username)
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            user = await users.create(session, account)
            await audit_log.record(session, NewAuditEntry("user.registered", actor=user.uuid, target=user.uuid), origin)
            await event_outbox.emit(session, webhook_events.registered(user))
            await self.outbox.enqueue(session, "verify_email", user.email)
            return user

    async def _tell_owner(self, address: str) -> None:
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            await self.outbox.enqueue(session, "already_registered", address)
        self.outbox.wake()

    async def change_password(self, user: Principal, current: str, new: str, origin: RequestOrigin) -> None:
        """Set another password, and end the caller's other logins.

        Raises:
            BadRequestError: the current password is wrong.
            ConflictError: the password was changed by somebody else meanwhile.
            TooManyRequestsError: too many wrong ones.

        """
        old_hash = await self.logins.confirm_password(user, current, origin)
        new_hash = await self.passwords.hash(new)
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            email = await credentials.replace_password(session, user.id, old_hash=old_hash, new_hash=new_hash)
            if email is None:
                raise ConflictError("The password was changed meanwhile.", code="password_changed")
            ended = await auth_sessions.revoke_all(
                session, user_id=user.id, reason="password_changed", except_uuid=user.session_uuid
            )
            entry = NewAuditEntry(
                "password.changed", actor=user.uuid, target=user.uuid, details={"logins_ended": ended}
            )
            await audit_log.record(session, entry, origin)
            await one_time_tokens.forget(session, user_id=user.id, purposes=["reset_password"])
            await self.outbox.enqueue(session, "password_changed", email)
        self.outbox.wake()


def already_registered_error(field: str) -> BadRequestError:
    """Return the refusal of an address or a name that is another account's."""
    return BadRequestError(
        f"This {field} is already registered.",
        code="already_registered",
        errors=(FieldError(f"body.{field}", "taken", "is already registered"),),
    )
