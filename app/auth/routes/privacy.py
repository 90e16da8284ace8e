"""What is held about the caller: taking it along, and having it erased."""

from fastapi import APIRouter

from app.auth.dependencies import ServicesDep
from app.auth.schemas import AccountErasure, ErasureReceipt
from app.core.handlers import responses
from app.dependencies import CurrentUser, OriginDep

router = APIRouter(responses=responses(401))


@router.delete("/me", responses=responses(400, 409, 413, 422, 429))
async def erase_account(
    erasure: AccountErasure, user: CurrentUser, services: ServicesDep, origin: OriginDep
) -> ErasureReceipt:
    """Erase the caller's account for good. The answer says what was removed from where, and what stays and why."""
    return await services.erasure.erase(user, erasure.password, origin)
