"""Search and export of the audit log."""

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
from app.database.repositories.audit import audit_log, audit_search
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.audit.audit_search import EntryPosition, StoredAuditEntry

_BATCH_SIZE = 500
"""Number of entries that an export reads and encodes at once. Encoding them blocks the event loop for about 10 ms."""
_BATCH_TIMEOUT = 10.0
"""Timeout of reading a batch in seconds. Longer than that of a request, so that delays do not abort a long export."""
_COLUMNS = tuple(AuditEntryShown.model_fields)
_CURSOR = Struct(">qq")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


async def search_audit_log(transaction: DatabaseSession, query: AuditQuery) -> AuditPage:
    """Return a page of matching entries, newest first.

    Raises:
        InvalidFieldError: `after` is not a valid cursor.

    """
    after = _decode_cursor(query.after) if query.after else None
    entries = await audit_search.find(transaction, query.criteria(), after=after, limit=query.limit + 1)
    page = entries[: query.limit]
    return AuditPage(
        entries=[AuditEntryShown.model_validate(entry) for entry in page],
        next=_encode_cursor(page[-1].position) if len(entries) > len(page) else None,
    )


async def export_entries(
    database: Database, admin: Principal, query: AuditExportQuery, origin: RequestOrigin
) -> AsyncIterator[bytes]:
    """Record the export in the audit log, and return the file as a stream of chunks.

    The stream ends with an exception if an entry cannot be read, or if the caller is no longer an admin.
    """
    filters = query.model_dump(mode="json", by_alias=True, exclude_none=True)
    async with database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
        await audit_log.record(connection, NewAuditEntry("audit.exported", actor=admin.uuid, details=filters), origin)
    return _export_chunks(database, admin, query)


async def _export_chunks(database: Database, admin: Principal, query: AuditExportQuery) -> AsyncIterator[bytes]:
    if query.format == "csv":
        yield encode_rows([_COLUMNS])
    async for batch in _batches(database, admin, query):
        if query.format == "csv":
            yield encode_rows(map(_csv_cells, batch))
        else:
            yield b"".join(to_json(_entry_fields(entry)) + b"\n" for entry in batch)


async def _batches(
    database: Database, admin: Principal, query: AuditExportQuery
) -> AsyncIterator[Sequence[StoredAuditEntry]]:
    """Yield matching entries in batches. No connection is held between two batches, while the client reads.

    Each batch starts after the last entry of the previous one, so no entry occurs twice.
    """
    criteria, after = query.criteria(), None
    while True:
        async with database.download_reads, database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
            await _require_admin(connection, admin)
            batch = await audit_search.find(connection, criteria, after=after, limit=_BATCH_SIZE)
        if batch:
            yield batch
            after = batch[-1].position
        if len(batch) < _BATCH_SIZE:
            return


async def _require_admin(connection: DatabaseConnection, admin: Principal) -> None:
    caller = admin.session_uuid and await callers.find_by_login(
        connection, user_uuid=admin.uuid, session_uuid=admin.session_uuid
    )
    if not caller or caller.role != "admin":
        raise ForbiddenError(code="admin_required")


def _entry_fields(entry: StoredAuditEntry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in _COLUMNS}


def _csv_cells(entry: StoredAuditEntry) -> Iterable[str]:
    for value in _entry_fields(entry).values():
        match value:
            case None:
                yield ""
            case datetime():
                yield value.isoformat()
            case dict():
                yield to_json(value).decode()
            case _:
                yield str(value)


def _encode_cursor(position: EntryPosition) -> str:
    packed = _CURSOR.pack((position.created_at - _EPOCH) // _MICROSECOND, position.id)
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


def _decode_cursor(cursor: str) -> EntryPosition:
    microseconds, key = _CURSOR.unpack(urlsafe_b64decode(f"{cursor}=="))
    try:
        return EntryPosition(_EPOCH + timedelta(microseconds=microseconds), key)
    except OverflowError:
        raise InvalidFieldError("query.after", "cursor", "must be a `next` value of an earlier page") from None
