"""Administration of shared conversations: list, revoke."""

from uuid import UUID

from app.admin.schemas.shares import ShareFacts, SharePage, ShareQuery
from app.core.exceptions import NotFoundError
from app.database.connection import DatabaseSession
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.sharing import admin_shares


async def list_shares(transaction: DatabaseSession, query: ShareQuery) -> SharePage:
    """Return a page of shares, the newest link first."""
    rows = await admin_shares.find(transaction, owner=query.user, after=query.after, limit=query.limit + 1)
    page = [ShareFacts.model_validate(row) for row in rows[: query.limit]]
    return SharePage(shares=page, next=page[-1].id if len(rows) > len(page) else None)


async def revoke(transaction: DatabaseSession, admin: Principal, share_uuid: UUID, origin: RequestOrigin) -> None:
    """Delete a share. Its link stops working at once.

    Raises:
        NotFoundError: the share does not exist.

    """
    removed = await admin_shares.remove(transaction, share_uuid)
    if removed is None:
        raise NotFoundError
    # The owner is the target, so that the entry is part of the export of their data.
    entry = NewAuditEntry(
        "share.deleted",
        actor=admin.uuid,
        target=removed.owner_uuid,
        details={"share": str(share_uuid), "session": str(removed.session_uuid)},
    )
    await audit_log.record(transaction, entry, origin)
