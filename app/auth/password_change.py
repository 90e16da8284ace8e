"""Password changes by logged-in users."""

from dataclasses import dataclass

from app.auth.email.outbox import EmailOutbox
from app.auth.logins import LoginService
from app.core.exceptions import ConflictError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.accounts import auth_sessions, credentials, one_time_tokens
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin


@dataclass(frozen=True, slots=True)
class PasswordService:
    """Changes passwords."""

    database: Database
    logins: LoginService
    outbox: EmailOutbox

    async def change(self, user: Principal, current: str, new: str, origin: RequestOrigin) -> None:
        """Replace the caller's password and end the caller's other logins.

        Raises:
            BadRequestError: the current password is wrong.
            ConflictError: another request changed the password at the same time.
            TooManyRequestsError: too many wrong passwords, or too many passwords are being hashed.
            ServiceUnavailableError: too many passwords are being hashed.

        """
        async with self.logins.hashing.slot(origin, user.uuid) as hasher:
            old_hash = await self.logins.confirm_password(user, current, origin, hasher)
            new_hash = await hasher.hash(new)
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            email = await credentials.replace_password(session, user.id, old_hash=old_hash, new_hash=new_hash)
            if email is None:
                raise ConflictError("Another request changed the password.", code="password_changed")
            ended = await auth_sessions.revoke_all(
                session, user_id=user.id, reason="password_changed", except_uuid=user.session_uuid
            )
            entry = NewAuditEntry(
                "password.changed", actor=user.uuid, target=user.uuid, details={"logins_ended": ended}
            )
            await audit_log.record(session, entry, origin)
            await one_time_tokens.revoke(session, user_id=user.id, purposes=["reset_password"])
            await self.outbox.enqueue(session, "password_changed", email)
        self.outbox.wake()
