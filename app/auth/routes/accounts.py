"""The caller's own account."""

from fastapi import APIRouter

from app.auth.dependencies import ServicesDep
from app.auth.schemas import UserCreate, UserResponse
from app.core.exceptions import UnauthorizedError
from app.core.handlers import responses
from app.database.models import User
from app.database.repositories import users
from app.dependencies import CurrentUser, SessionDep

router = APIRouter()


@router.post("/register", status_code=201, response_model=UserResponse, responses=responses(400, 413, 422))
async def register(new: UserCreate, services: ServicesDep) -> User:
    """Create an account."""
    return await services.logins.register(new)


@router.get("/me", response_model=UserResponse, responses=responses(401))
async def me(caller: CurrentUser, session: SessionDep) -> User:
    """Return the caller's account."""
    user = await users.get(session, caller.id)
    if user is None:
        raise UnauthorizedError  # erased since the check
    return user
