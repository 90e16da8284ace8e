"""Export, import and copies of sessions."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from app.chat.dependencies import ServicesDep
from app.chat.http_responses import to_response
from app.chat.idempotency.header import IdempotencyKeyDep
from app.chat.schemas.sessions import SessionResponse
from app.chat.schemas.transfer import ImportResponse, SessionDuplicate
from app.chat.transfer.export import ExportedFile, ExportFormat
from app.core.exceptions import BadRequestError
from app.core.schema_types import ResponseModel
from app.http.authentication import ChatReader, ChatWriter
from app.http.errors import responses

router = APIRouter()

_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A file. If the transfer is aborted, it is incomplete.",
        "headers": {"Content-Disposition": {"description": "Name of the file.", "schema": {"type": "string"}}},
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/markdown": {"schema": {"type": "string"}},
            "text/plain": {"schema": {"type": "string"}},
        },
    }
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            },
        },
    }
}

Format = Annotated[
    ExportFormat,
    Query(description="`json` has all branches and can be imported; `md` and `txt` have the active branch, to read."),
]


async def limit_exports(user: ChatReader, services: ServicesDep) -> AsyncIterator[None]:
    """Count the export against the user's limit until it is sent.

    Raises:
        TooManyRequestsError: the user has too many of them at the same time.

    """
    with services.transfer.user_limiter.slot(user.id):
        yield


@router.get(
    "/sessions/{session_id}/export",
    response_class=StreamingResponse,
    responses=responses(404) | _EXPORT,
    dependencies=[Depends(limit_exports)],
)
async def export_session(
    session_id: UUID,
    user: ChatReader,
    services: ServicesDep,
    format: Format = "json",  # noqa: A002 - its name in the query
) -> StreamingResponse:
    """Return a session as a file, as an attachment named after its title."""
    return _download(await services.transfer.exports.export_session(user, session_id, format))


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses=_EXPORT,
    dependencies=[Depends(limit_exports)],
)
async def export_sessions(
    user: ChatReader,
    services: ServicesDep,
    format: Format = "json",  # noqa: A002 - its name in the query
) -> StreamingResponse:
    """Return all sessions of the user as one file, archived ones included."""
    return _download(await services.transfer.exports.export_all(user, format))


@router.post(
    "/import",
    status_code=201,
    responses=responses(400, 408, 409, 413)
    | {202: {"model": ImportResponse, "description": "The import is still running: see `GET /imports/{import_id}`."}},
    openapi_extra=_UPLOAD,
)
async def import_sessions(
    request: Request, user: ChatWriter, services: ServicesDep, response: Response
) -> ImportResponse:
    """Import sessions: a file of `GET /export`, or the `conversations.json` of a ChatGPT export.

    The body is the file itself, or a form with it. Each session is stored completely or not at all. A conversation that
    was imported before is not stored again.
    """
    content_type = request.headers.get("content-type", "")
    result = await services.transfer.imports.import_file(user.id, _chunks(request), content_type)
    if result.status == "running":
        response.status_code = HTTPStatus.ACCEPTED
        response.headers["Location"] = str(request.url_for("get_import", import_id=result.import_id).path)
    return result


@router.get("/imports/{import_id}", responses=responses(404))
async def get_import(import_id: UUID, user: ChatReader, services: ServicesDep) -> ImportResponse:
    """Return the progress of an import, and at its end its report."""
    return await services.transfer.imports.get(user.id, import_id)


@router.post(
    "/sessions/{session_id}/duplicate",
    status_code=201,
    response_model=SessionResponse,
    responses=responses(400, 404, 409, 413),
)
async def duplicate_session(
    session_id: UUID, copy: SessionDuplicate, user: ChatWriter, services: ServicesDep, key: IdempotencyKeyDep
) -> ResponseModel | Response:
    """Copy a session with all its branches, or with `message_id` the branch that ends at that message."""
    return to_response(await services.transfer.copies.duplicate(user.id, session_id, copy, key))


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise BadRequestError("The upload stopped.", code="upload_incomplete") from None


def _download(file: ExportedFile) -> StreamingResponse:
    return StreamingResponse(
        file.chunks, media_type=file.media_type, headers={"Content-Disposition": file.content_disposition}
    )
