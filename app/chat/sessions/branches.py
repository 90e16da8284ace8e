"""Branches of a session: pages of messages, selection, deletion."""

from dataclasses import dataclass
from uuid import UUID

from app.chat.schemas.messages import BranchMessage, MessagePage, MessageResponse, MessagesDeleted, Siblings
from app.chat.turns.presenters import message_response
from app.chat.turns.recovery import TurnRecovery
from app.core.exceptions import ConflictError, InvalidFieldError, NotFoundError
from app.database.connection import Database, DatabaseSession
from app.database.repositories.chat import branch_deletion, branches, sessions
from app.database.repositories.chat.branches import BranchMessageRef, BranchPage, BranchRow, StoredQuestion
from app.services.redis.deleted_session_purger import DeletedSessionPurger

_PAGE_AFTER_SWITCH = 50
"""Number of messages that are returned when another branch is selected."""


@dataclass(frozen=True, slots=True)
class BranchService:
    """Reads and changes the message trees of a user's sessions. Those of other users do not exist for any method."""

    database: Database
    recovery: TurnRecovery
    deleted_session_purger: DeletedSessionPurger

    async def get_page(
        self,
        transaction: DatabaseSession,
        user_id: int,
        session_uuid: UUID,
        *,
        before: UUID | None,
        after: UUID | None,
        limit: int,
    ) -> MessagePage:
        """Return a page of the active branch: the newest messages, or those before or after one of them.

        Raises:
            NotFoundError: the user has no such session.
            InvalidFieldError: both `before` and `after` are given, or the message is not on the active branch.

        """
        if before is not None and after is not None:
            raise InvalidFieldError("query.after", "conflict", "cannot be combined with before")
        stored = await sessions.get(transaction, user_id=user_id, session_uuid=session_uuid)
        if stored is None:
            raise NotFoundError("Session not found.")
        if before is not None:
            message = await self._on_active_branch(transaction, stored.id, before, "query.before")
            page = await branches.page_before(transaction, stored.id, message, limit=limit)
        elif after is not None:
            message = await self._on_active_branch(transaction, stored.id, after, "query.after")
            page = await branches.page_after(transaction, stored.id, message, limit=limit)
        else:
            page = await branches.newest_page(transaction, stored.id, limit=limit)
        return self._present(page)

    async def newest_messages(
        self, transaction: DatabaseSession, session_id: int, *, limit: int
    ) -> list[MessageResponse]:
        """Return the newest messages of the active branch. The caller must have checked the owner."""
        page = await branches.newest_page(transaction, session_id, limit=limit)
        is_reliable = self.recovery.lease_expiry_is_reliable
        return [message_response(row, lease_expiry_is_reliable=is_reliable) for row in page.rows]

    async def activate(
        self, transaction: DatabaseSession, user_id: int, session_uuid: UUID, message_uuid: UUID
    ) -> MessagePage:
        """Select the branch with a message, down to its newest end, and return its newest messages.

        Raises:
            NotFoundError: the user has no such session, or it has no such message.

        """
        locked = await branches.lock_session(transaction, user_id=user_id, session_uuid=session_uuid)
        if locked is None:
            raise NotFoundError("Session not found.")
        message = await branches.find_message(transaction, locked.id, message_uuid)
        if message is None:
            raise NotFoundError("Message not found.")
        await branches.activate(transaction, locked, message.id)
        return self._present(await branches.newest_page(transaction, locked.id, limit=_PAGE_AFTER_SWITCH))

    async def delete(self, user_id: int, session_uuid: UUID, message_uuid: UUID) -> MessagesDeleted:
        """Delete a message with all that follows it, in PostgreSQL and in Redis.

        Raises:
            NotFoundError: the user has no such session, or it has no such message.
            ConflictError: one of the messages is being generated.

        """
        async with self.database.transaction() as transaction:
            locked = await branches.lock_session(transaction, user_id=user_id, session_uuid=session_uuid)
            message = await branches.find_message(transaction, locked.id, message_uuid) if locked else None
            if locked is None or message is None:
                raise NotFoundError("Message not found.")
            active = await branch_deletion.find_active_answer_below(transaction, locked.id, message)
            if active is not None:
                raise ConflictError(
                    "The answer is being generated. Cancel it first.",
                    code="turn_active",
                    extra={"message_id": str(active)},
                )
            deleted = await branch_deletion.delete_from(transaction, locked, message)
        await self.deleted_session_purger.purge_messages(session_uuid, deleted.answer_uuids)
        return MessagesDeleted(deleted=deleted.count, message_count=deleted.message_count)

    async def find_question(self, user_id: int, session_uuid: UUID, message_uuid: UUID) -> StoredQuestion:
        """Return a question of the user by its own id or by that of one of its answers.

        Raises:
            NotFoundError: there is none.

        """
        async with self.database.transaction() as transaction:
            question = await branches.find_question(
                transaction, user_id=user_id, session_uuid=session_uuid, message_uuid=message_uuid
            )
        if question is None:
            raise NotFoundError("Message not found.")
        return question

    @staticmethod
    async def _on_active_branch(
        transaction: DatabaseSession, session_id: int, message_uuid: UUID, name: str
    ) -> BranchMessageRef:
        message = await branches.find_message(transaction, session_id, message_uuid)
        if message is None or not message.is_on_active_branch:
            raise InvalidFieldError(name, "unknown_message", "is not a message of the active branch")
        return message

    def _present(self, page: BranchPage) -> MessagePage:
        is_reliable = self.recovery.lease_expiry_is_reliable
        return MessagePage(
            messages=[_branch_message(row, lease_expiry_is_reliable=is_reliable) for row in page.rows],
            has_older=page.has_older,
            has_newer=page.has_newer,
        )


def _branch_message(row: BranchRow, *, lease_expiry_is_reliable: bool) -> BranchMessage:
    message = message_response(row, lease_expiry_is_reliable=lease_expiry_is_reliable)
    ids = list(row.sibling_uuids)
    siblings = Siblings(index=ids.index(row.message.uuid), count=len(ids), ids=ids)
    return BranchMessage(**dict(message), siblings=siblings)
