"""API keys: creation, listing, deletion."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.auth.schemas.api_keys import ApiKeyCreate, ApiKeyCreated, ApiKeyList, ApiKeyResponse
from app.core.exceptions import ConflictError, NotFoundError, UnauthorizedError
from app.core.schema_types import Pagination
from app.core.security import hash_token, new_api_key
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.models.accounts.api_key import PREFIX_LENGTH
from app.database.repositories.accounts import api_keys, callers, users
from app.database.repositories.accounts.api_keys import NewApiKey
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin

MAX_API_KEYS = 20
"""Maximum number of API keys of one account, including expired ones."""


@dataclass(frozen=True, slots=True)
class ApiKeyService:
    """Manages API keys. Every method works on the keys of its caller only."""

    database: Database

    async def create(self, caller: Principal, new: ApiKeyCreate, origin: RequestOrigin) -> ApiKeyCreated:
        """Create a key. Only this response contains it.

        Raises:
            ConflictError: the account has `MAX_API_KEYS` keys.
            UnauthorizedError: the account was erased, or the login ended, after the caller was authenticated.

        """
        key, scopes = new_api_key(), sorted(new.scopes)
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            # Locked and checked again: two concurrent requests must not both create the last permitted key, and a
            # request that waited here for a password reset must not create a key for a login that the reset ended.
            if not await users.lock(session, caller.id) or not await callers.is_valid(session, caller):
                raise UnauthorizedError
            if await api_keys.count(session, user_id=caller.id) >= MAX_API_KEYS:
                raise ConflictError(f"An account has at most {MAX_API_KEYS} API keys.", code="too_many_api_keys")
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
        """Delete a key. It is refused from the next request on.

        Raises:
            NotFoundError: the caller has no such key.

        """
        if not await api_keys.remove(session, user_id=caller.id, key_uuid=key_uuid):
            raise NotFoundError("API key not found.")
        await audit_log.record(session, NewAuditEntry("api_key.deleted", actor=caller.uuid, target=key_uuid), origin)
