"""Deletion and archiving of many sessions of a user."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.chat.schemas.session_selections import SessionArchiving, SessionsChanged, SessionSelection
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import session_batches
from app.database.repositories.chat.session_batches import FoundSession
from app.services.limits.admission import expensive_operation
from app.services.redis.deleted_session_purger import DeletedSessionPurger

_MAX_SECONDS = 20.0
"""Time after which no further batch is started. The gateway waits 80 s."""
_SESSIONS_PER_DELETION = 100
"""Maximum number of sessions in one transaction that deletes."""
_MESSAGES_PER_DELETION = 5000
"""Maximum number of messages of these sessions, unless a single session has more."""
_SESSIONS_PER_CHANGE = 500
"""Maximum number of sessions in one statement that archives."""


@dataclass(frozen=True, slots=True)
class BulkSessionService:
    """Changes many sessions in batches, each of them in a transaction. An interrupted request can be sent again."""

    database: Database
    deleted_session_purger: DeletedSessionPurger

    async def delete(self, user_id: int, selection: SessionSelection) -> SessionsChanged:
        """Delete sessions with the text of their messages, in PostgreSQL and in Redis. Unknown ids are reported.

        Raises:
            TooManyRequestsError, OverloadedError: see `expensive_operation`.

        """
        ids = selection.ids
        count = done = 0
        async with expensive_operation():
            deadline = time.monotonic() + _MAX_SECONDS
            found = await self._find(user_id, ids)
            for batch in _deletion_batches(found):
                if time.monotonic() > deadline:
                    break
                keys = [session.id for session in batch]
                async with self.database.transaction() as transaction:
                    deleted = await session_batches.remove(transaction, keys, user_id=user_id)
                await self.deleted_session_purger.purge_sessions(deleted.uuids, deleted.answer_uuids)
                count += len(deleted.uuids)
                done += len(batch)
        return _result(count, ids, found, is_complete=done == len(found) < session_batches.MAX_SESSIONS)

    async def archive(self, user_id: int, selection: SessionArchiving) -> SessionsChanged:
        """Archive sessions, or return them to the list. Unknown ids are reported.

        Raises:
            TooManyRequestsError, OverloadedError: see `expensive_operation`.

        """
        ids = selection.ids
        count = done = 0
        async with expensive_operation():
            deadline = time.monotonic() + _MAX_SECONDS
            found = await self._find(user_id, ids, is_active=selection.archived)
            for start in range(0, len(found), _SESSIONS_PER_CHANGE):
                if time.monotonic() > deadline:
                    break
                batch = found[start : start + _SESSIONS_PER_CHANGE]
                keys = [session.id for session in batch]
                async with self.database.autocommit() as connection:
                    count += await session_batches.set_active(
                        connection, keys, user_id=user_id, is_active=not selection.archived
                    )
                done += len(batch)
        return _result(count, ids, found, is_complete=done == len(found) < session_batches.MAX_SESSIONS)

    async def _find(
        self, user_id: int, uuids: Sequence[UUID] | None, *, is_active: bool | None = None
    ) -> list[FoundSession]:
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            return await session_batches.find(connection, user_id=user_id, uuids=uuids, is_active=is_active)


def _deletion_batches(found: Sequence[FoundSession]) -> Iterator[list[FoundSession]]:
    batch: list[FoundSession] = []
    messages = 0
    for session in found:
        if batch and (len(batch) == _SESSIONS_PER_DELETION or messages + session.last_seq > _MESSAGES_PER_DELETION):
            yield batch
            batch, messages = [], 0
        batch.append(session)
        messages += session.last_seq
    if batch:
        yield batch


def _result(
    changed: int, requested: Sequence[UUID] | None, found: Sequence[FoundSession], *, is_complete: bool
) -> SessionsChanged:
    known = {session.uuid for session in found}
    return SessionsChanged(
        changed=changed,
        not_found=[uuid for uuid in requested or () if uuid not in known],
        is_complete=is_complete,
    )
