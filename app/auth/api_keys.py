"""Keys for programs."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.auth.schemas.api_keys import ApiKeyCreate, ApiKeyCreated, ApiKeyList, ApiKeyResponse
from app.core.exceptions import ConflictError, NotFoundError, UnauthorizedError
from app.core.security import hash_token, new_api_key
from app.core.types import Pagination
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.models.accounts.api_key import PREFIX_LENGTH
from app.database.repositories.accounts import api_keys, callers, users
from app.database.repositories.accounts.api_keys import NewApiKey
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin

MAX_KEYS = 20
"""Keys of one account, expired ones included."""


@dataclass(frozen=True, slots=True)
class ApiKeyService:
    """Decides who gets a key. Every method takes the caller: another's key does not exist."""

    database: Database

    async def create(self, caller: Principal, new: ApiKeyCreate, origin: RequestOrigin) -> ApiKeyCreated:
        """Make a key. This is the only time that it is shown.

        Raises:
            ConflictError: the account has as many as it may have.
            UnauthorizedError: the account has been erased, or the login has ended, since the caller was checked.

        """
        key, scopes = new_api_key(), sorted(new.scopes)
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            # Under the account's lock, or two requests at once would both find room for one more, and one that waits
            # here for a reset of the password would leave a key to whom the reset has put out.
            if not await users.lock(session, caller.id) or not await callers.is_valid(session, caller):
                raise UnauthorizedError
            if await api_keys.count(session, user_id=caller.id) >= MAX_KEYS:
                raise ConflictError(f"An account has at most {MAX_KEYS} API keys.", code="too_many_api_keys")
            stored = await api_keys.create(
                session,
                NewApiKey(
                    user_id=caller.id,
                    name=new.name,
                    prefix=key[:PREFIX_LENGTH],
                    token_hash=hash_token(key),
                    scopes=list(scopes),
                    life=None if new.expires_in_days is None else timedelta(days=new.expires_in_days),
                ),
            )
            await audit_log.record(
                session,
                NewAuditEntry("api_key.created", actor=caller.uuid, target=stored.uuid, details={"scopes": scopes}),
                origin,
            )
        return ApiKeyCreated(
            uuid=stored.uuid,
            name=stored.name,
            prefix=stored.prefix,
            scopes=scopes,
            created_at=stored.created_at,
            expires_at=stored.expires_at,
            last_used_at=None,
            key=key,
        )

    async def list_page(self, session: DatabaseSession, caller: Principal, *, page: int, size: int) -> ApiKeyList:
        """Return a page of keys, newest first."""
        rows, total = await api_keys.list_page(session, user_id=caller.id, page=page, size=size)
        return ApiKeyList(
            api_keys=[ApiKeyResponse.model_validate(row) for row in rows],
            pagination=Pagination.of(total=total, page=page, size=size),
        )

    async def delete(self, session: DatabaseSession, caller: Principal, key_uuid: UUID, origin: RequestOrigin) -> None:
        """Delete a key. It is void from the next request on.

        Raises:
            NotFoundError: the caller has no such key.

        """
        if not await api_keys.remove(session, user_id=caller.id, key_uuid=key_uuid):
            raise NotFoundError("API key not found.")
        await audit_log.record(session, NewAuditEntry("api_key.deleted", actor=caller.uuid, target=key_uuid), origin)
