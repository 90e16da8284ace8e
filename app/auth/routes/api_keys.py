"""Routes for the caller's API keys. They require a login: an API key cannot manage API keys."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.auth.dependencies import ServicesDep
from app.auth.schemas.accounts import Done
from app.auth.schemas.api_keys import ApiKeyCreate, ApiKeyCreated, ApiKeyList
from app.core.schema_types import Page, PageSize
from app.http.authentication import CurrentUser
from app.http.dependencies import RequestOriginDep, SessionDep
from app.http.errors import responses

router = APIRouter(responses=responses(401, 422))


@router.get("/api-keys")
async def list_api_keys(
    caller: CurrentUser,
    services: ServicesDep,
    session: SessionDep,
    page: Annotated[Page, Query()] = 1,
    size: Annotated[PageSize, Query()] = 20,
) -> ApiKeyList:
    """List the caller's API keys, newest first."""
    return await services.api_keys.list_page(session, caller, page=page, size=size)


@router.post("/api-keys", status_code=201, responses=responses(400, 409, 413))
async def create_api_key(
    new: ApiKeyCreate, caller: CurrentUser, services: ServicesDep, origin: RequestOriginDep
) -> ApiKeyCreated:
    """Create an API key for the chat service. Only this response contains the key."""
    return await services.api_keys.create(caller, new, origin)


@router.delete("/api-keys/{key_id}", responses=responses(404))
async def delete_api_key(
    key_id: UUID, caller: CurrentUser, services: ServicesDep, session: SessionDep, origin: RequestOriginDep
) -> Done:
    """Delete an API key. It is refused from the next request on."""
    await services.api_keys.delete(session, caller, key_id, origin)
    return Done(message="API key deleted.")
