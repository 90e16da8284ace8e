"""Sharing of conversations by link: creation, revocation, reading, copies."""

from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from app.chat.idempotency.serialized_response import SerializedResponse, serialize_response
from app.chat.idempotency.service import IdempotencyService
from app.chat.schemas.sessions import SessionResponse
from app.chat.schemas.shares import ShareCreate, SharedConversation, ShareList, ShareResponse
from app.core.exceptions import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    UnauthorizedError,
    UnprocessableError,
)
from app.core.link_tokens import LinkTokens
from app.core.schema_types import Pagination
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.repositories.accounts import users
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.chat import sessions
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.sharing import copies, shares, snapshots
from app.database.repositories.sharing.shares import Snapshot, StoredShare
from app.database.repositories.sharing.snapshots import LastMessage, NewShare
from app.database.repositories.turns import idempotency_keys
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest
from app.services.turn_end_polling import ACTIVE_STATUSES

MAX_MESSAGES = 1000
"""Maximum number of messages of a snapshot."""
MAX_BYTES = 1_048_576
"""Maximum size of the texts of a snapshot, in bytes of UTF-8."""

NOINDEX = {"X-Robots-Tag": "noindex, nofollow, noarchive"}
"""Header of all responses about shared conversations, so that search engines do not store them."""


@dataclass(frozen=True, slots=True)
class SharingService:
    """Shares conversations of a user, and serves them to everybody who has the link."""

    database: Database
    idempotency: IdempotencyService
    tokens: LinkTokens
    is_enabled: bool
    max_per_user: int
    public_url: str
    """Base URL of the frontend."""

    async def create(
        self, user: Principal, session_uuid: UUID, request: ShareCreate, origin: RequestOrigin
    ) -> ShareResponse:
        """Store a snapshot of a branch of a session, and return its link. It replaces the session's earlier share.

        Raises:
            ForbiddenError: sharing is disabled.
            NotFoundError: the user has no such session, or it has no such message.
            ConflictError: the session is empty, its answer is in progress, or the user shares too many conversations.
            UnprocessableError: the branch is too large.
            UnauthorizedError: the account was erased after the caller was authenticated.

        """
        if not self.is_enabled:
            raise ForbiddenError("Sharing is disabled.", code="sharing_disabled")
        async with self.database.transaction() as transaction:
            # Locked, so that concurrent requests do not exceed the limit.
            if not await users.lock(transaction, user.id):
                raise UnauthorizedError
            session = await snapshots.lock_shared_session(transaction, user_id=user.id, session_uuid=session_uuid)
            if session is None:
                raise NotFoundError("Session not found.")
            last = await snapshots.lock_last_message(transaction, session, request.message_id)
            if last is None and request.message_id is not None:
                raise NotFoundError("Message not found.")
            if last is None:
                raise ConflictError("The session has no messages.", code="empty_session")
            if last.status in ACTIVE_STATUSES:
                raise ConflictError(
                    "The answer is still being generated.", code="turn_active", extra={"message_id": str(last.uuid)}
                )
            await _check_size(transaction, last)
            if await shares.count(transaction, user_id=user.id, except_session=session.id) >= self.max_per_user:
                raise ConflictError(
                    f"An account can share at most {self.max_per_user} conversations.", code="too_many_shares"
                )
            new = NewShare(
                title=request.title or session.title,
                includes_models=request.include_models,
                lifetime=None if request.expires_in_days is None else timedelta(days=request.expires_in_days),
                keeps_link=request.keep_link,
            )
            share_uuid = await snapshots.create(transaction, new, last, user_id=user.id)
            stored = await shares.get(transaction, user_id=user.id, session_uuid=session_uuid)
            if stored is None:
                raise NotFoundError("Session not found.")
            details = {
                "session": str(session_uuid),
                "messages": stored.message_count,
                "expires_at": stored.expires_at.isoformat() if stored.expires_at else None,
            }
            entry = NewAuditEntry("share.created", actor=user.uuid, target=share_uuid, details=details)
            await audit_log.record(transaction, entry, origin)
        return self._share_response(stored)

    async def get(self, transaction: DatabaseSession, user_id: int, session_uuid: UUID) -> ShareResponse:
        """Return the share of a session.

        Raises:
            NotFoundError: the user has no such session, or it is not shared.

        """
        stored = await shares.get(transaction, user_id=user_id, session_uuid=session_uuid)
        if stored is None:
            raise NotFoundError("Share not found.")
        return self._share_response(stored)

    async def list_page(self, transaction: DatabaseSession, user_id: int, *, page: int, size: int) -> ShareList:
        """Return a page of the user's shares."""
        rows, total = await shares.list_page(transaction, user_id=user_id, page=page, size=size)
        return ShareList(
            shares=[self._share_response(row) for row in rows],
            pagination=Pagination.of(total=total, page=page, size=size),
        )

    async def revoke(
        self, transaction: DatabaseSession, user: Principal, session_uuid: UUID, origin: RequestOrigin
    ) -> None:
        """Delete the share of a session. Its link stops working at once.

        Raises:
            NotFoundError: the user has no such session, or it is not shared.

        """
        removed = await shares.remove(transaction, user_id=user.id, session_uuid=session_uuid)
        if removed is None:
            raise NotFoundError("Share not found.")
        entry = NewAuditEntry("share.deleted", actor=user.uuid, target=removed, details={"session": str(session_uuid)})
        await audit_log.record(transaction, entry, origin)

    async def read(self, token: str) -> SharedConversation:
        """Return the snapshot behind a link.

        Raises:
            NotFoundError: the link is invalid, revoked or expired, or sharing is disabled.

        """
        share_uuid = self._verify(token)
        async with self.database.read_only(max_seconds=REQUEST_TIMEOUT) as transaction:
            snapshot = await _find(transaction, share_uuid)
        return SharedConversation.model_validate(snapshot)

    async def copy(
        self, user: Principal, token: str, key: IdempotentRequest | None, origin: RequestOrigin
    ) -> SessionResponse | SerializedResponse:
        """Store a copy of the snapshot behind a link as a new session of the caller.

        Raises:
            NotFoundError: as `read`.

        """
        share_uuid = self._verify(token)
        if key is not None:
            # Keys are stored, tokens are not.
            key = replace(key, route=f"copy_share {share_uuid}")
        try:
            async with self.database.transaction() as transaction:
                response, copy_id = await self._copy(transaction, user, share_uuid, origin)
                if key is None:
                    return response
                stored = serialize_response(key, response, 201)
                connection = await transaction.connection()
                await idempotency_keys.claim_with_response(connection, stored, session_id=copy_id)
        except IdempotencyKeyTakenError as error:
            return await self.idempotency.replay(error)
        return SerializedResponse.of(stored)

    @staticmethod
    async def _copy(
        transaction: DatabaseSession, user: Principal, share_uuid: UUID, origin: RequestOrigin
    ) -> tuple[SessionResponse, int]:
        snapshot = await _find(transaction, share_uuid)
        created = await sessions.create(transaction, NewSession(title=snapshot.title, meta={}), user_id=user.id)
        await copies.store_copy(transaction, created, snapshot.messages)
        # Not the owner: the entry is part of the export of its target.
        entry = NewAuditEntry(
            "share.copied", actor=user.uuid, target=share_uuid, details={"session": str(created.uuid)}
        )
        await audit_log.record(transaction, entry, origin)
        response = SessionResponse(
            session_id=created.uuid,
            title=created.title,
            context=created.meta,
            created_at=created.created_at,
            updated_at=created.updated_at,
            message_count=len(snapshot.messages),
        )
        return response, created.id

    def _verify(self, token: str) -> UUID:
        try:
            share_uuid = self.tokens.verify(token)
        except ValueError:
            raise NotFoundError(headers=NOINDEX) from None
        if not self.is_enabled:
            raise NotFoundError(headers=NOINDEX)
        return share_uuid

    def _share_response(self, stored: StoredShare) -> ShareResponse:
        token = self.tokens.issue(stored.uuid)
        return ShareResponse(
            id=stored.uuid,
            session_id=stored.session_uuid,
            token=token,
            # In the fragment, which browsers send to no server.
            url=f"{self.public_url}/shared#token={token}",
            title=stored.title,
            message_count=stored.message_count,
            include_models=stored.includes_models,
            created_at=stored.created_at,
            expires_at=stored.expires_at,
        )


async def _check_size(transaction: DatabaseSession, last: LastMessage) -> None:
    if last.depth > MAX_MESSAGES or await snapshots.text_size(transaction, last) > MAX_BYTES:
        raise UnprocessableError(
            f"At most {MAX_MESSAGES} messages with {MAX_BYTES} bytes of text can be shared.", code="share_too_large"
        )


async def _find(transaction: DatabaseSession, share_uuid: UUID) -> Snapshot:
    snapshot = await shares.read(transaction, share_uuid)
    if snapshot is None:
        raise NotFoundError(headers=NOINDEX)
    return snapshot
