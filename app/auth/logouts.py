"""Logout: the end of one login or of all logins of an account."""

from dataclasses import dataclass
from uuid import UUID

from app.core.exceptions import NotFoundError
from app.core.security import RefreshTokens, hash_token
from app.database.connection import DatabaseSession
from app.database.repositories.accounts import auth_sessions
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin


@dataclass(frozen=True, slots=True)
class LogoutService:
    """Ends logins. All services refuse their tokens from the next request on."""

    refresh_tokens: RefreshTokens

    async def logout(self, session: DatabaseSession, user: Principal, origin: RequestOrigin) -> None:
        """End the caller's login. Does nothing if a concurrent request has ended it."""
        if user.session_uuid is not None and await auth_sessions.revoke(
            session, user_id=user.id, session_uuid=user.session_uuid, reason="logout"
        ):
            entry = NewAuditEntry("login.ended", actor=user.uuid, target=user.session_uuid)
            await audit_log.record(session, entry, origin)

    async def logout_by_token(self, session: DatabaseSession, refresh_token: str, origin: RequestOrigin) -> None:
        """End the login of a refresh token. Does nothing if the token is not valid, or its login has ended.

        A used token ends it, too: another tab may just have exchanged it, and its reuse would end the login anyway.
        """
        try:
            session_uuid = self.refresh_tokens.parse_session_id(refresh_token)
            is_authentic = self.refresh_tokens.has_valid_mac(refresh_token)
        except ValueError:
            return
        user_uuid = await auth_sessions.revoke_by_token(
            session, session_uuid, token_hash=hash_token(refresh_token), is_authentic=is_authentic
        )
        if user_uuid is not None:
            entry = NewAuditEntry("login.ended", actor=user_uuid, target=session_uuid)
            await audit_log.record(session, entry, origin)

    async def logout_all(self, session: DatabaseSession, user: Principal, origin: RequestOrigin) -> None:
        """End all logins of the caller, including the current one."""
        ended = await auth_sessions.revoke_all(session, user_id=user.id, reason="logout_all")
        await audit_log.record(
            session,
            NewAuditEntry("login.all_ended", actor=user.uuid, target=user.uuid, details={"logins": ended}),
            origin,
        )

    async def remove(
        self, session: DatabaseSession, user: Principal, session_uuid: UUID, origin: RequestOrigin
    ) -> None:
        """End one login of the caller.

        Raises:
            NotFoundError: the caller has no such login, or it has ended.

        """
        if not await auth_sessions.revoke(session, user_id=user.id, session_uuid=session_uuid, reason="removed"):
            raise NotFoundError("Session not found.")
        await audit_log.record(session, NewAuditEntry("login.ended", actor=user.uuid, target=session_uuid), origin)
