"""Looking for entries of the audit log, and taking them along."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct

from pydantic_core import to_json

from app.admin.csv_export import encode_rows
from app.admin.schemas.audit import AuditEntryShown, AuditExportQuery, AuditPage, AuditQuery
from app.core.exceptions import ForbiddenError, InvalidFieldError
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseConnection, DatabaseSession
from app.database.repositories.accounts import callers
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log, search
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.audit.search import EntryPosition, StoredAuditEntry

_BATCH = 500
"""Entries that are read, and written into the file, at once: some 10 ms in which nobody else is served."""
_BATCH_TIMEOUT = 10.0
"""Seconds that reading them may take. Who waits for a long file does not want to begin again for a hiccup."""
_COLUMNS = tuple(AuditEntryShown.model_fields)
_CURSOR = Struct(">qq")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


async def search_audit_log(transaction: DatabaseSession, query: AuditQuery) -> AuditPage:
    """Return a part of the entries, newest first.

    Raises:
        InvalidFieldError: `after` is no `next`.

    """
    after = _position(query.after) if query.after else None
    found = await search.find(transaction, query.criteria(), after=after, limit=query.limit + 1)
    shown = found[: query.limit]
    return AuditPage(
        entries=[AuditEntryShown.model_validate(entry) for entry in shown],
        next=_cursor(shown[-1].position) if len(found) > len(shown) else None,
    )


async def export_entries(
    database: Database, admin: Principal, query: AuditExportQuery, origin: RequestOrigin
) -> AsyncIterator[bytes]:
    """Note that somebody takes entries along, and return the file in pieces.

    If it cannot be read to the end, or the caller stops being an admin, an exception cuts it off.
    """
    asked = query.model_dump(mode="json", by_alias=True, exclude_none=True)
    async with database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
        await audit_log.record(connection, NewAuditEntry("audit.exported", actor=admin.uuid, details=asked), origin)
    return _pieces(database, admin, query)


async def _pieces(database: Database, admin: Principal, query: AuditExportQuery) -> AsyncIterator[bytes]:
    if query.format == "csv":
        yield encode_rows([_COLUMNS])
    async for batch in _batches(database, admin, query):
        if query.format == "csv":
            yield encode_rows(map(_cells, batch))
        else:
            yield b"".join(to_json(_fields(entry)) + b"\n" for entry in batch)


async def _batches(
    database: Database, admin: Principal, query: AuditExportQuery
) -> AsyncIterator[Sequence[StoredAuditEntry]]:
    """Read in batches, each a statement of its own: no connection is held while the client reads.

    Each begins after the last entry of the one before, so none is there twice.
    """
    criteria, after = query.criteria(), None
    while True:
        async with database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
            await _require_admin(connection, admin)
            batch = await search.find(connection, criteria, after=after, limit=_BATCH)
        if batch:
            yield batch
            after = batch[-1].position
        if len(batch) < _BATCH:
            return


async def _require_admin(connection: DatabaseConnection, admin: Principal) -> None:
    now = admin.session_uuid and await callers.find_by_login(
        connection, user_uuid=admin.uuid, session_uuid=admin.session_uuid
    )
    if not now or now.role != "admin":
        raise ForbiddenError(code="admin_required")


def _fields(entry: StoredAuditEntry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in _COLUMNS}


def _cells(entry: StoredAuditEntry) -> Iterable[str]:
    for value in _fields(entry).values():
        match value:
            case None:
                yield ""
            case datetime():
                yield value.isoformat()
            case dict():
                yield to_json(value).decode()
            case _:
                yield str(value)


def _cursor(position: EntryPosition) -> str:
    packed = _CURSOR.pack((position.created_at - _EPOCH) // _MICROSECOND, position.id)
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


def _position(cursor: str) -> EntryPosition:
    microseconds, key = _CURSOR.unpack(urlsafe_b64decode(f"{cursor}=="))
    try:
        return EntryPosition(_EPOCH + timedelta(microseconds=microseconds), key)
    except OverflowError:
        raise InvalidFieldError("query.after", "cursor", "must be the `next` of a part before") from None
