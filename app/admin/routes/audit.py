"""Routes of the audit log."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.admin import audit
from app.admin.schemas.audit import AuditExportQuery, AuditPage, AuditQuery
from app.http.authentication import AdminUser
from app.http.dependencies import DatabaseDep, RequestOriginDep, SessionDep
from app.http.errors import responses

router = APIRouter(prefix="/audit", responses=responses(422))

_MEDIA_TYPES = {"csv": "text/csv; charset=utf-8; header=present", "jsonl": "application/jsonl"}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "File with one entry per row, newest first. If the transfer is aborted, the file is incomplete.",
        "content": {
            media_type.partition(";")[0]: {"schema": {"type": "string"}} for media_type in _MEDIA_TYPES.values()
        },
    }
}


@router.get("")
async def search_audit_log(
    query: Annotated[AuditQuery, Query()], _admin: AdminUser, transaction: SessionDep
) -> AuditPage:
    """Search the audit log, newest entries first."""
    return await audit.search_audit_log(transaction, query)


@router.get("/export", response_class=StreamingResponse, responses=_FILE)
async def export_audit_log(
    query: Annotated[AuditExportQuery, Query()], admin: AdminUser, database: DatabaseDep, origin: RequestOriginDep
) -> StreamingResponse:
    """Export all matching entries as a file. The export itself is recorded in the audit log."""
    return StreamingResponse(
        await audit.export_entries(database, admin, query, origin),
        media_type=_MEDIA_TYPES[query.format],
        headers={"Content-Disposition": f'attachment; filename="audit-log.{query.format}"'},
    )
