"""Routes for data export and erasure of the caller's account."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from app.auth.dependencies import ServicesDep
from app.auth.refresh_cookie import RefreshCookieDep
from app.auth.schemas.privacy import AccountErasure, ErasureReceipt
from app.http.authentication import CurrentUser
from app.http.dependencies import RequestOriginDep
from app.http.errors import responses

router = APIRouter(responses=responses(401))

_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One JSON object: `exported_at`, `account`, `chat_sessions` with their `messages`, and one list "
        "per other table. If the transfer is aborted, the document is incomplete.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


async def limit_exports(user: CurrentUser, services: ServicesDep) -> AsyncIterator[None]:
    """Count the export against the user's limit until it is sent.

    Raises:
        TooManyRequestsError: the user has too many of them at the same time.

    """
    with services.export.limiter.slot(user.id):
        yield


@router.get("/me/export", response_class=StreamingResponse, responses=_EXPORT, dependencies=[Depends(limit_exports)])
async def export_account(user: CurrentUser, services: ServicesDep, origin: RequestOriginDep) -> StreamingResponse:
    """Return the data of the caller's account as one JSON document, as a file attachment."""
    return StreamingResponse(
        await services.export.start(user, origin),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="account.json"'},
    )


@router.delete("/me", responses=responses(400, 409, 413, 422))
async def erase_account(
    erasure: AccountErasure,
    user: CurrentUser,
    services: ServicesDep,
    origin: RequestOriginDep,
    cookie: RefreshCookieDep,
) -> ErasureReceipt:
    """Erase the caller's account irrevocably. The response lists deleted and retained data with the reasons."""
    receipt = await services.erasure.erase_own(user, erasure.password, origin)
    cookie.clear()
    return receipt
